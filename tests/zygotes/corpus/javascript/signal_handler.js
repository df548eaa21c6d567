//: modes = ["terminal", "split", "pipes"]
//: talk = [["ready", "\u0003"]]
process.on("SIGINT", (name, number) => {
  console.log("got", name, number);
  process.exit(5);
});
setTimeout(() => {}, 60000);
console.log("ready");
