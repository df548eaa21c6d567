//: modes = ["terminal", "split", "pipes"]
//: env = { GREETING = "hällo wörld", EMPTY = "", TERM = "vt100", A = "=b=c" }
console.log(process.env, Object.keys(process.env), "NODE_OPTIONS" in process.env, process.env.EMPTY === "");
process.env.NEW = "x";
delete process.env.EMPTY;
console.log(require("child_process").execSync("env | sort").toString());
