//: modes = ["terminal", "split", "pipes"]
console.log(process.moduleLoadList.join("\n"));
