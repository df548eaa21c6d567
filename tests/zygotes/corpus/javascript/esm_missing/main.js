import nothing from "./no-such-file.js";
console.log(nothing);
