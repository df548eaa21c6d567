import { parentPort } from "node:worker_threads";
parentPort.postMessage([import.meta.url, typeof require, await Promise.resolve(5)]);
