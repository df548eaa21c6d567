//: modes = ["terminal", "split", "pipes"]
console.log(process.env);
