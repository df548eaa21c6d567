const fs = require("fs");
console.log(fs.statSync("main.js").mode.toString(8), fs.realpathSync("."), fs.existsSync("package.json"), fs.statSync("main.js").mtimeMs <= Date.now());
fs.promises.readFile("main.js", "utf8").then((text) => console.log(text.length));
