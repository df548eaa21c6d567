//: modes = ["terminal", "split", "pipes"]
//: talk = [["ready", "\u0003"]]
setTimeout(() => {}, 60000);
console.log("ready");
