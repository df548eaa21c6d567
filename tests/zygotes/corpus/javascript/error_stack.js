function here() {
  return new Error("where").stack;
}
console.log(here(), Error.stackTraceLimit);
Error.prepareStackTrace = (error, frames) => frames.map((frame) => [frame.getFileName(), frame.getLineNumber(), frame.getFunctionName()]);
console.log(new Error("frames").stack);
