const main = require("./main");
exports.seen = { ...main };
exports.get = () => ({ ...main });
