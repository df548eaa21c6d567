const { Worker, SHARE_ENV } = require("worker_threads");
const code = "require('worker_threads').parentPort.postMessage([process.argv, process.env.A, Object.keys(require.cache), module.paths])";
new Worker(code, { eval: true, argv: ["a", "b"], env: { A: "own" } }).on("message", (message) => {
  console.log(message);
  const broken = new Worker("throw new Error('in a worker')", { eval: true, execArgv: [], env: SHARE_ENV });
  broken.on("error", (error) => console.log(error.message));
});
