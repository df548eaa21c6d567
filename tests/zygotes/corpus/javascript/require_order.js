// What the loader remembers of what was loaded before.
const Module = require("module");
console.log(Object.keys(Module._cache), Object.keys(Module._pathCache), Module.globalPaths, Module.builtinModules.length);
console.log(process._preload_modules, Module._extensions[".js"].length, Module.wrap("x"));
