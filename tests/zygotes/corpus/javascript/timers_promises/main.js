import { setTimeout as sleep } from "node:timers/promises";
console.log(await sleep(5, "slept"));
const controller = new AbortController();
setImmediate(() => controller.abort());
try {
  await sleep(60000, null, { signal: controller.signal });
} catch (error) {
  console.log(error.name, error.code);
}
