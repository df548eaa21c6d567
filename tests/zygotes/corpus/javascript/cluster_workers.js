const cluster = require("cluster");
if (cluster.isPrimary) {
  const worker = cluster.fork({ TOLD: "yes" });
  worker.on("message", (message) => {
    console.log("primary got", message);
    worker.disconnect();
  });
  worker.on("exit", (code) => console.log("exit", code));
} else {
  process.send([process.env.TOLD, cluster.worker.id, process.argv.length, process.env.NODE_OPTIONS]);
}
