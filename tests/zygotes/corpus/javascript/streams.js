//: modes = ["terminal", "split", "pipes"]
for (const stream of [process.stdin, process.stdout, process.stderr]) {
  console.log(stream.constructor.name, stream.isTTY, stream.fd, stream.columns, stream.rows, stream.writableHighWaterMark);
  console.log(stream.hasColors?.(), stream.getColorDepth?.(), stream._type, stream.readableFlowing);
}
console.error("to stderr");
console.log({ colour: [1, "two", null, undefined, Symbol("x")] });
