const lib = require("./lib");
const { inner } = require("./folder");
console.log(lib.name, inner(), require("./data.json"), module.children.map((child) => child.filename));
console.log(Object.keys(require.cache), lib === require("./lib.js"));
delete require.cache[require.resolve("./lib")];
require("./lib");
