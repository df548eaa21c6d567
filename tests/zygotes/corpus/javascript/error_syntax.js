//: modes = ["terminal", "split", "pipes"]
console.log("never");
const a = ;
