//: modes = ["terminal", "split", "pipes"]
//: talk = [["ready", "abc\n"], ["abc", "\u0004"]]
process.stdin.setEncoding("utf8");
process.stdin.on("data", (data) => console.log(JSON.stringify(data)));
process.stdin.on("end", () => console.log("end"));
console.log("ready");
