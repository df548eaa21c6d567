//: modes = ["pipes"]
//: talk = [["go", "one\ntwo\nthree"]]
import readline from "node:readline";
console.log("go");
for await (const line of readline.createInterface({ input: process.stdin })) console.log(line);
