//: args = ["--name", "Ada", "-v", "rest"]
const { parseArgs } = require("util");
console.log(parseArgs({ options: { name: { type: "string" }, verbose: { type: "boolean", short: "v" } }, allowPositionals: true }));
