// Makes a Node that was started ahead wait, before it looks for its program's file, until there is a program for it.
//
// Descriptor 60 is a socket: one byte out says that it waits; one packet comes, the number of arguments, the arguments
// (the file first), and NAME=VALUE of further variables, each with a NUL at its end; another byte says that it was
// taken. Where the number has a size behind it ("2:17"), the path and the content of a file of that size follow. The
// socket's end means that there is no program. Then it forgets itself. Worker threads load it as well, and
// find that there is nothing to wait for.
//
// It waits in another folder than its program's: the loader looks for a package.json where it is, once and for all.
"use strict";
const modules = process._preload_modules;
if (process.env.RUNNERD_ZYGOTE !== undefined) {
  const fs = require("fs");
  delete process.env.RUNNERD_ZYGOTE;
  if (modules.length > 1) process.env.NODE_OPTIONS = process.env.NODE_OPTIONS.replace(`--require ${__filename} `, "");
  else delete process.env.NODE_OPTIONS;

  // What the first output needs: half of the time that is left. Nothing but process.moduleLoadList tells of it.
  require("tty");
  new (require("net").Socket)();

  const packet = Buffer.allocUnsafeSlow(1 << 18);
  fs.writeSync(60, "w");
  const length = fs.readSync(60, packet);
  if (length === 0) process.reallyExit(0);
  fs.writeSync(60, "1");
  fs.closeSync(60);
  const [count, size] = packet.toString("latin1", 0, packet.indexOf(0)).split(":").map(Number);
  const end = length - (size ?? 0);
  const words = packet.toString("utf8", 0, end).split("\0").slice(1, -1);
  process.chdir(require("path").dirname(process.argv[1]));
  if (size !== undefined) fs.writeFileSync(words.pop(), packet.subarray(end, length), { mode: 0o644 });
  process.argv.push(...words.slice(1, count)); // the first is the file
  for (const pair of words.slice(count)) {
    const at = pair.indexOf("=");
    process.env[pair.slice(0, at)] = pair.slice(at + 1);
  }
}
const { parent, constructor: loader } = module;
delete loader._cache[__filename];
delete loader._pathCache[`${__filename}\0`];
parent.children.pop();
// The loader walks through this very list, and would now step over the next.
modules.shift();
for (const name of modules) parent.require(name);
