// SIGINT for a kernel whose main thread computes in a callback or after an `await`, where node does not look for signals.
//
// A second thread hears it, since vm's watchdog for SIGINT works in all threads. It tells the main thread, and when that
// does not answer in time it ends what runs there. From then on signals come from here and not from libuv: a watchdog
// that ends, or a listener that is removed, would put the signal's default back, which is the end of the process.
"use strict";
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
const inspector = require("inspector");
const { setImmediate } = require("timers"); // which nobody replaces
const vm = require("vm");

const PATIENCE = 150; // ms that the main thread has to answer
const LANDING = 5; // ms in which an end that was asked for has come
const STUCK = 1000; // ms after which nobody waits for it any more
const [FREE, ASKED, ENDING] = [0, 1, 2];

if (isMainThread) module.exports = main;
else listen(workerData);

// Begins to listen and calls `ready` when it does; `deliver` is called for SIGINT from then on. `collect` is for whoever
// is about to end a run: whether there was a SIGINT, which is delivered instead. `forget` is for whoever begins or ends
// one: what came by now is not for the next, and what it does then is not cut short, or done again by `again`.
function main(deliver, ready) {
  const state = new Int32Array(new SharedArrayBuffer(16)); // [of the question, whether to listen, heard, ends asked for]
  let answered = 0;
  let landed = 0;
  // An end that was asked for too late comes now, at the latest, and cuts short whoever waits for it here.
  const land = (again) => {
    if (Atomics.load(state, 0) !== ENDING && Atomics.load(state, 3) === landed) return;
    let cut = true;
    setImmediate(() => cut && again());
    for (const begun = Date.now(); Atomics.load(state, 0) === ENDING && Date.now() - begun < STUCK; );
    for (const begun = Date.now(); Date.now() - begun < LANDING; );
    landed = Atomics.load(state, 3);
    cut = false;
  };
  const forget = (again) => {
    answered = Atomics.load(state, 2);
    Atomics.compareExchange(state, 0, ASKED, FREE);
    Atomics.notify(state, 0);
    land(again);
  };
  const collect = () => {
    const heard = Atomics.load(state, 2);
    if (heard === answered) return false;
    forget(deliver);
    deliver();
    return true;
  };
  const resourceLimits = { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 1, stackSizeMb: 1 };
  const worker = new Worker(__filename, { workerData: state, resourceLimits, execArgv: [], env: {}, stdin: false });
  worker.on("error", ready); // no thread can be had: then node's own ways are all there is
  worker.once("message", () => {
    worker.on("message", collect);
    worker.unref();
    keepFromLibuv("newListener", "startListeningIfSignal");
    keepFromLibuv("removeListener", "stopListeningIfSignal");
    Atomics.store(state, 1, 1);
    Atomics.notify(state, 1);
    ready();
  });
  return { collect, forget };
}

// SIGINT is an event like any other from now on: what node does when it gets a listener, or loses its last one, is not done.
function keepFromLibuv(event, name) {
  for (const listener of process.listeners(event)) {
    if (listener.name !== name) continue;
    process.off(event, listener);
    process.on(event, (type, ...more) => type === "SIGINT" || listener.call(process, type, ...more));
  }
}

function listen(state) {
  const debug = new inspector.Session();
  debug.connectToMainThread();
  const script = new vm.Script("body()");
  let since = 0;

  // Whether a SIGINT has ended it.
  const guarded = (body) => {
    globalThis.body = body;
    try {
      script.runInThisContext({ breakOnSigint: true });
      return false;
    } catch (problem) {
      if (problem.code !== "ERR_SCRIPT_EXECUTION_INTERRUPTED") throw problem;
      return true;
    }
  };
  const sleep = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  const ask = () => {
    Atomics.compareExchange(state, 0, ENDING, FREE); // of one that a signal has cut short
    if (Atomics.compareExchange(state, 0, FREE, ASKED) === FREE) since = Date.now();
    Atomics.add(state, 2, 1);
    parentPort.postMessage(null);
    Atomics.wait(state, 0, ASKED, Math.max(0, since + PATIENCE - Date.now()));
    if (Date.now() - since < PATIENCE || Atomics.compareExchange(state, 0, ASKED, ENDING) !== ASKED) return;
    debug.post("Runtime.terminateExecution", () => {});
    Atomics.add(state, 3, 1);
    Atomics.store(state, 0, FREE);
  };
  // Each of these catches what comes while the one within it goes on from one guarded body to the next.
  const hear = () => {
    for (;;) for (guarded(sleep); guarded(ask); );
  };
  const always = () => {
    for (;;) if (guarded(hear)) guarded(ask);
  };

  parentPort.postMessage(null);
  Atomics.wait(state, 1, 0);
  for (;;) guarded(always);
}
