process.on("uncaughtException", (error, origin) => {
  console.log("uncaught", error, origin);
  process.exitCode = 4;
});
setTimeout(() => {
  throw null;
});
throw { an: "object" };
