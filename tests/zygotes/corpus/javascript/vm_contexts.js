const vm = require("vm");
console.log(vm.runInNewContext("Object.keys(this)"), vm.runInThisContext("typeof require"), new vm.Script("1 + 1").runInThisContext());
eval("console.log(typeof module)");
new Function("console.log(typeof require, this === globalThis)")();
