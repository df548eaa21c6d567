//: modes = ["terminal", "split", "pipes"]
//: talk = [["name? ", "Ada\n"]]
import * as readline from "node:readline/promises";
const terminal = readline.createInterface({ input: process.stdin, output: process.stdout });
console.log("hello", await terminal.question("name? "));
terminal.close();
