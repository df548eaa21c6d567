const hooks = require("async_hooks");
console.log(new hooks.AsyncResource("OWN").asyncId());
