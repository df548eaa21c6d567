//: modes = ["terminal", "split", "pipes"]
console.log("hello, world");
