exports.early = 1;
console.log(require("./other").seen);
exports.late = 2;
console.log(require("./other").get());
