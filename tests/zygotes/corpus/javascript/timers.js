const began = process.hrtime.bigint();
setTimeout(() => console.log("last", Number(process.hrtime.bigint() - began) >= 199e6), 200);
setTimeout(() => console.log("zero"), 0);
setTimeout(() => console.log("hundred"), 100);
process.nextTick(() => console.log("tick"));
Promise.resolve().then(() => console.log("micro"));
queueMicrotask(() => console.log("micro two"));
setTimeout(() => {}, 60000).unref();
console.log("sync");
