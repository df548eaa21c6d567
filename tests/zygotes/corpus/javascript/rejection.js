//: modes = ["terminal", "split", "pipes"]
console.log("before");
Promise.reject(new Error("nobody catches"));
setTimeout(() => console.log("never"), 50);
