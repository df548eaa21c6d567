const { pipeline, Readable, Transform } = require("stream");
const zlib = require("zlib");
const upper = new Transform({ transform: (chunk, _, done) => done(null, chunk.toString().toUpperCase()) });
pipeline(Readable.from(["a", "b"]), upper, process.stdout, (error) => console.log("\ndone", error));
console.log(zlib.gunzipSync(zlib.gzipSync("packed")).toString(), Buffer.from("ü").toString("hex"), Buffer.poolSize);
