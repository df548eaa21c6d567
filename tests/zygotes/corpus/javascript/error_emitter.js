const EventEmitter = require("events");
const emitter = new EventEmitter();
for (let n = 0; n < 12; n++) emitter.on("x", () => {});
emitter.emit("error", new Error("no listener"));
