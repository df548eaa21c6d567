//: args = ["first"]
const { fork } = require("child_process");
if (process.argv[2] === "first") {
  const child = fork(__filename, ["second"]);
  child.on("message", (message) => console.log("parent got", message));
  child.on("exit", (code, signal) => console.log("exit", code, signal));
} else {
  process.send({ argv: process.argv, env: Object.keys(process.env).sort(), execArgv: process.execArgv, preload: process._preload_modules });
  process.disconnect();
}
