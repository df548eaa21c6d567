//: modes = ["terminal", "split", "pipes"]
//: talk = [["go", "one\n"], ["got one", "two\n"], ["got two", "\u0004"]]
console.log("go");
require("readline").createInterface({ input: process.stdin }).on("line", (line) => console.log("got", line)).on("close", () => console.log("end"));
