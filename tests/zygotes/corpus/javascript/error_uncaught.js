//: modes = ["terminal", "split", "pipes"]
function inner() {
  throw new RangeError("out of range");
}
function outer() {
  inner();
}
console.log("before");
outer();
