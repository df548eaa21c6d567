//: modes = ["terminal", "split", "pipes"]
// Nothing is loaded that is not with the first output; only the order differs.
require("tty");
new (require("net").Socket)();
process.stdout.write(process.moduleLoadList.sort().join("\n") + "\n");
