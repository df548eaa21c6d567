//: modes = ["terminal"]
//: talk = [["ready", "x"]]
process.stdin.setRawMode(true);
process.stdin.once("data", (data) => {
  process.stdin.setRawMode(false);
  console.log(data, process.stdin.isRaw);
  process.exit();
});
console.log("ready");
