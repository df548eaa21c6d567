// Makes a Node that was started ahead wait, before it looks for its program's file, until there is a program for it.
//
// Descriptor 3 is a socket: one byte out says that it waits; one packet comes, the number of further arguments, the
// arguments, and NAME=VALUE of further variables, each with a NUL at its end; another byte says that it was taken. The
// socket's end means that there is no program. Then it forgets itself. Worker threads load it as well, and find that there is nothing to wait for.
"use strict";
if (process.env.RUNNERD_ZYGOTE !== undefined) {
  const fs = require("fs");
  delete process.env.RUNNERD_ZYGOTE;
  const own = `--require ${__filename}`;
  const rest = process.env.NODE_OPTIONS.slice(own.length).trim();
  if (rest) process.env.NODE_OPTIONS = rest;
  else delete process.env.NODE_OPTIONS;
  process._preload_modules.shift();

  const packet = Buffer.allocUnsafeSlow(1 << 18);
  fs.writeSync(3, "1");
  const words = packet.toString("utf8", 0, fs.readSync(3, packet)).split("\0");
  if (words.length < 2) process.reallyExit(0);
  fs.writeSync(3, "1");
  fs.closeSync(3);
  const count = Number(words[0]);
  process.argv.push(...words.slice(1, 1 + count));
  for (const pair of words.slice(1 + count, -1)) {
    const at = pair.indexOf("=");
    process.env[pair.slice(0, at)] = pair.slice(at + 1);
  }
}
delete require.cache[__filename];
