// Keeps JavaScript's variables between pieces of code: the driver of a kernel. `node node-kernel.cjs SOCKET`.
//
// The daemon connects once, before any code is known, and the socket's name is gone then. Messages are JSON lines: a
// `run` comes in; `begun` and `done`, or `refused`, go out (docs/kernels.md). Code is evaluated as by the console of a
// browser's tools: `let`, `const` and `class` may be declared again, and `await` stands at the top.
"use strict";
const fs = require("fs");
const inspector = require("inspector");
const { createRequire } = require("module");
const net = require("net");
const timers = require("timers");
const tty = require("tty");
const util = require("util");
const { promiseHooks } = require("v8");
const vm = require("vm");
const imports = require("./node-imports.cjs");
const listenForInterrupts = require("./node-interrupt.cjs");

const KEY = "__kernel";
const OWN = new Set([__filename, require.resolve("./node-imports.cjs"), require.resolve("./node-interrupt.cjs")]);
const LEFT = Object.freeze({ [util.inspect.custom]: () => "" }); // thrown by process.exit where nothing else unwinds
const SHOWN = 1000; // characters of a line of source
const UNSETTLED = 13; // node's exit code for an await that nothing can end
const terminals = [0, 1, 2].map(target);
const debug = new inspector.Session();
const kept = new Set();
const then = Promise.prototype.then;
const sources = new Map(); // file name -> lines
let control, run; // `run` is null between runs
let muted = false;

// --- the daemon ------------------------------------------------------------------------------------------------------

const server = net.createServer((socket) => {
  server.close(); // and its name is gone
  control = socket;
  const parts = [];
  socket.on("data", (data) => {
    parts.push(data);
    if (data[data.length - 1] === 10) start(JSON.parse(Buffer.concat(parts.splice(0)).toString()));
  });
  socket.on("close", () => process.reallyExit(0));
  socket.on("error", () => process.reallyExit(0));
});

// Not as a stream, whose state an interrupt could tear.
const send = (message) => fs.writeSync(control._handle.fd, JSON.stringify(message) + "\n");

// --- a run -----------------------------------------------------------------------------------------------------------

function start(message) {
  listener.forget(() => start(message));
  const { run: number, code, main, args, env, stdin: given } = message;
  try {
    openInput(given === null ? null : Buffer.from(given, "base64"));
    Object.assign(process.env, env);
    process.argv.splice(1, Infinity, main, ...args);
    for (const stream of [process.stdout, process.stderr]) stream._refreshSize?.();
  } catch (problem) {
    send({ type: "refused", run: number, message: String(problem).slice(0, 500) });
    return;
  }
  const name = `run-${number}.js`;
  const source = Buffer.from(code, "base64").toString();
  sources.set(name, source.split("\n"));
  const mine = (run = { number, name, settled: false, guarded: false, exit: undefined });
  control.unref(); // from now on the event loop is empty when the run has nothing more to do: see beforeExit
  const request = { replMode: true, awaitPromise: true, objectGroup: KEY };
  try {
    guard(mine, () => {
      send({ type: "begun", run: number }); // an interrupt that comes from now on is for this run
      request.expression = `${withImports(source)}\n//# sourceURL=${name}`;
      keep(() => debug.post("Runtime.evaluate", request, (problem, reply) => settle(mine, problem, reply)));
    });
  } catch (problem) {
    if (problem.code !== "ERR_SCRIPT_EXECUTION_INTERRUPTED") throw problem;
    finish(mine, mine.exit ?? null);
  }
}

// Calls `body` so that SIGINT ends it in whatever it does.
const guarded = new vm.Script(`{ const body = globalThis.${KEY}; delete globalThis.${KEY}; body(); }`);
function guard(mine, body) {
  Object.defineProperty(globalThis, KEY, { value: body, configurable: true });
  mine.guarded = true;
  try {
    guarded.runInThisContext({ breakOnSigint: true });
  } finally {
    mine.guarded = false;
    // Node put the listeners aside meanwhile. One that the code has added makes it forget the signal itself after this.
    const others = process.rawListeners("SIGINT").filter((listener) => listener !== interrupt);
    process.removeAllListeners("SIGINT");
    for (const listener of [interrupt, ...others]) process.on("SIGINT", listener);
  }
}

// The main script, and what it awaits, is done.
function settle(mine, problem, reply) {
  if (mine !== run || problem) return; // interrupted
  mine.settled = true;
  const failed = reply.exceptionDetails;
  if (failed) {
    const error = failed.exception ? fetch(failed.exception) : failed.text;
    if (error !== LEFT) fail(mine, error, failed);
  }
  debug.post("Runtime.releaseObjectGroup", { objectGroup: KEY });
}

// The inspector awaits the promise of the whole script. Of one that is collected without being settled it tells amid the
// collection, which ends node: so those are kept. It is the first promise that is made.
function keep(body) {
  const stop = promiseHooks.onInit((promise) => {
    stop();
    kept.add(promise);
    const forget = () => kept.delete(promise);
    then.call(promise, forget, forget);
  });
  try {
    body();
  } finally {
    stop();
  }
}

// The value behind the inspector's description of it.
function fetch(remote) {
  if (!remote.objectId) return remote.unserializableValue ?? remote.value;
  let value;
  Object.defineProperty(globalThis, KEY, { value: (it) => (value = it), configurable: true });
  const call = `function (it) { "use strict"; globalThis.${KEY}(it); }`;
  const { objectId } = remote;
  debug.post("Runtime.callFunctionOn", { objectId, functionDeclaration: call, arguments: [{ objectId }] });
  delete globalThis[KEY];
  return value;
}

function fail(mine, error, where) {
  if (mine !== run) return;
  report(error, where);
  finish(mine, 1);
}

// As node prints what nobody has caught.
function report(error, where) {
  try {
    const native = util.types.isNativeError(error);
    const frame = /(run-\d+\.js):(\d+):(\d+)/.exec((native && error.stack) || "");
    // What cannot be parsed has no stack, but the inspector knows where.
    const at = frame ? [frame[1], frame[2] - 1, frame[3] - 1] : where ? [run.name, where.lineNumber, where.columnNumber] : [];
    const source = (sources.get(at[0]) || [])[at[1]];
    const mark = `${" ".repeat(Math.min(at[2], SHOWN))}^`;
    const arrow = source === undefined ? "" : `${at[0]}:${at[1] + 1}\n${source.slice(0, SHOWN)}\n${mark}\n\n`;
    const what = !native ? `Uncaught:\n${util.inspect(error)}` : frame ? util.inspect(error) : `${error.stack}`;
    process.stderr.write(`${arrow}${what}\n\nNode.js ${process.version}\n`);
  } catch {} // what cannot be printed is told by the exit code alone
}

// `code` null: interrupted. What still holds the event loop belongs to this run, and goes.
function finish(mine, code) {
  if (mine !== run) return;
  listener.forget(() => finish(mine, code));
  run = null;
  closeInput();
  for (const timer of live) if (timer.hasRef()) forget(timer);
  live.clear();
  for (const handle of process._getActiveHandles()) {
    if (handle === process.stdout || handle === process.stderr) continue;
    if (typeof handle.kill === "function") handle.unref();
    else if (typeof handle.destroy === "function") handle.destroy();
    else if (typeof handle.close === "function") handle.close();
  }
  process.exitCode = undefined;
  muted = false;
  control.ref();
  send({ type: "done", run: mine.number, code });
}

process.on("beforeExit", () => {
  if (!run || listener.collect()) return;
  if (!run.settled) process.stderr.write("Warning: Detected unsettled top-level await\n");
  finish(run, run.settled ? Number(process.exitCode ?? 0) & 255 : UNSETTLED);
});

process.on("uncaughtException", (error) => {
  if (error === LEFT || process.listenerCount("uncaughtException") > 1) return;
  if (run) fail(run, error);
  else report(error);
});

function interrupt() {
  if (run && process.listenerCount("SIGINT") === 1) finish(run, null);
}
process.on("SIGINT", interrupt);

// A SIGINT that the listening thread has heard.
function deliver() {
  if (process.listenerCount("SIGINT") === 0) process.on("SIGINT", interrupt); // `guard` was ended with what it guarded
  process.emit("SIGINT", "SIGINT", 2);
}

process.exit = (code) => {
  if (code !== undefined) process.exitCode = code;
  const mine = run;
  if (!mine) return;
  mine.exit = Number(process.exitCode ?? 0) & 255;
  muted = true; // until the code is unwound, nobody hears from it
  immediately(() => finish(mine, mine.exit));
  if (mine.guarded) for (debug.post("Runtime.terminateExecution"); ; ); // nothing can catch this
  throw LEFT;
};

// Output goes out at once and without a stream's state, which an interrupt in its middle would tear for good.
for (const [fd, stream] of [[1, process.stdout], [2, process.stderr]]) {
  stream.write = (data, encoding, done) => {
    if (typeof encoding === "function") [encoding, done] = [undefined, encoding];
    const bytes = typeof data === "string" ? Buffer.from(data, encoding) : data;
    for (let at = 0; !muted && at < bytes.length; ) at += put(fd, bytes, at);
    if (done) process.nextTick(done);
    return true;
  };
}

function put(fd, bytes, at) {
  try {
    return fs.writeSync(fd, bytes, at);
  } catch (problem) {
    if (problem.code === "EAGAIN") return 0; // code has made it non-blocking
    throw problem;
  }
}

// --- timers: the only holders of the event loop that it does not list ------------------------------------------------

const immediately = timers.setImmediate;
const live = new Set();
let crowd = 1000;

function forget(timer) {
  timers.clearTimeout(timer);
  timers.clearImmediate(timer);
}

for (const name of ["setTimeout", "setInterval", "setImmediate"]) {
  const create = timers[name];
  const tracked = {
    [name](...words) {
      const timer = create(...words);
      live.add(timer);
      if (live.size > crowd) {
        for (const old of live) if (old._destroyed) live.delete(old);
        crowd = Math.max(1000, live.size * 2);
      }
      return timer;
    },
  }[name];
  Object.defineProperties(tracked, Object.getOwnPropertyDescriptors(create));
  timers[name] = globalThis[name] = tracked;
}

// --- descriptors, and a stream of its own for each run's stdin -------------------------------------------------------------------------

let input, fromFile;

function target(fd) {
  try {
    return fs.readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined; // the code has closed it
  }
}

// There is no dup2: what is opened is the lowest number that is free.
function replace(fd, path, flags) {
  if (target(fd) !== undefined) fs.closeSync(fd);
  if (fs.openSync(path, flags) !== fd) throw new Error(`descriptor ${fd} was taken by another thread`);
}

function openInput(given) {
  for (const [fd, path] of terminals.entries()) if (target(fd) !== path) replace(fd, path, "r+");
  fromFile = given !== null;
  if (!fromFile) return;
  const path = `/tmp/.stdin-${process.pid}`;
  fs.writeFileSync(path, given, { mode: 0o600 });
  replace(0, path, "r");
  fs.unlinkSync(path);
}

function closeInput() {
  if (input) {
    input.removeAllListeners();
    input.on("error", () => {});
    input.destroy();
  }
  input = undefined;
  fromFile = false;
}

function makeInput() {
  if (fromFile) return fs.createReadStream(null, { fd: 0, autoClose: false });
  const stream = new tty.ReadStream(0);
  const stop = () => {
    if (stream._handle && stream._handle.reading) {
      stream._handle.reading = false;
      stream._handle.readStop();
    }
  };
  stream._handle.reading = stream._readableState.reading = false; // it begins paused, and does not hold the loop
  stream._handle.readStop();
  stream.on("pause", () => process.nextTick(stop));
  stream.fd = 0;
  return stream;
}

Object.defineProperty(process, "stdin", {
  configurable: true,
  enumerable: true,
  get: () => (input ??= makeInput()),
});

// --- what code finds -------------------------------------------------------------------------------------------------

const folder = process.cwd();
const module_ = { exports: {}, id: ".", filename: `${folder}/main.js`, loaded: false, children: [], paths: [] };
const names = { require: createRequire(module_.filename), module: module_, exports: module_.exports };
Object.assign(names, { __filename: module_.filename, __dirname: folder });
for (const [name, value] of Object.entries(names)) {
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
}

const withImports = imports(debug, module_.filename);

// Stacks without the driver's own frames, and those below the code.
Error.prepareStackTrace = (error, frames) => {
  const below = frames.findIndex((frame) => frame.getFileName() === "node:inspector");
  const shown = (below < 0 ? frames : frames.slice(0, below)).filter((frame) => !OWN.has(frame.getFileName()));
  let head;
  try {
    head = Error.prototype.toString.call(error);
  } catch {
    head = "<error>";
  }
  return [head, ...shown.map((frame) => `    at ${frame}`)].join("\n");
};

debug.connect();
const listener = listenForInterrupts(deliver, () => server.listening || server.listen(process.argv[2]));
