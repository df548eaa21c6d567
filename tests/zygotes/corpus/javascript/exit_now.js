process.on("exit", (code) => {
  console.log("leaving", code);
  process.exitCode = 12;
});
process.exit(3);
