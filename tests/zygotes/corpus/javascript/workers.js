//: modes = ["terminal", "split", "pipes"]
//: args = ["x"]
const { Worker, isMainThread, parentPort, workerData, threadId } = require("worker_threads");
if (isMainThread) {
  const worker = new Worker(__filename, { workerData: { n: 7 } });
  worker.on("message", (message) => console.log("main got", message));
  worker.on("exit", (code) => console.log("exit", code, isMainThread, threadId));
} else {
  const loader = require("module");
  parentPort.postMessage([
    [threadId, require.main === module, process.argv, process.execArgv, Object.keys(require.cache), workerData.n * 6],
    [process._preload_modules, process.env.NODE_OPTIONS, Object.keys(loader._pathCache), process.cwd()],
  ]);
}
