console.log(Reflect.ownKeys(globalThis), Object.keys(globalThis), this === module.exports, arguments.length);
(function () {
  console.log(this === globalThis, typeof exports);
})();
