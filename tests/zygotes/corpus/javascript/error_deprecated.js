process.emitWarning("mine", { code: "MY1", detail: "more" });
process.emitWarning("old", "DeprecationWarning", "DEP_OWN");
new Buffer(1);
require("url").parse("http://[::1");
