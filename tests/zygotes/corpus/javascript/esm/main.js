//: modes = ["terminal", "split", "pipes"]
import fs, { readFileSync } from "node:fs";
import { value } from "./lib.js";

console.log(import.meta.url, import.meta.filename, import.meta.dirname, import.meta.main, import.meta.resolve("./lib.js"));
console.log(typeof require, typeof module, this, value, fs.readFileSync === readFileSync);
console.log(await import("./lib.js"), process.argv);
