const status = require("fs").readFileSync("/proc/self/status", "utf8");
console.log(status.match(/^(Sig|Shd|NoNewPrivs|Seccomp|Threads).*$/gm));
