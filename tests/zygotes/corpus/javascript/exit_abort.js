process.stdout.write("then\n", () => process.kill(process.pid, "SIGTERM"));
setTimeout(() => {}, 60000);
