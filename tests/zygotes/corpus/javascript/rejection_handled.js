process.on("unhandledRejection", (reason, promise) => console.log("unhandled", reason, promise));
process.on("rejectionHandled", () => console.log("handled late"));
const late = Promise.reject(1);
setTimeout(() => late.catch(() => {}), 5);
