// Some of what a module may ask of the loader.
const { builtinModules, createRequire, findPackageJSON, isBuiltin, syncBuiltinESMExports, registerHooks } = require("module");
console.log(builtinModules.includes("fs"), isBuiltin("node:tty"), findPackageJSON?.(__filename), createRequire(__filename).resolve("./main.js"));
registerHooks?.({ resolve: (name, context, next) => (console.log("resolving", name), next(name, context)) });
require("util");
require("./main.js");
