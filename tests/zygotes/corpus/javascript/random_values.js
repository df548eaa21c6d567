//: differs = true
console.log(Math.random(), crypto.randomUUID(), require("crypto").randomBytes(8).toString("hex"));
