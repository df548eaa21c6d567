const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
console.log("before");
await wait(5);
console.log("after", await Promise.all([1, Promise.resolve(2)]));
await new Promise(() => {});
