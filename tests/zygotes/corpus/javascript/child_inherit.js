require("child_process").spawnSync("sh", ["-c", "echo from the child; echo to stderr >&2; test -t 1 && echo terminal"], { stdio: "inherit" });
console.log("after");
