//: modes = ["pipes"]
//: talk = [["ready", "all of it\n"]]
console.log("ready");
console.log(JSON.stringify(require("fs").readFileSync(0, "utf8")));
