for (let n = 0; n < 3000; n++) console.log(`line ${n} of a long text`);
process.stdout.write("x".repeat(200000) + "\n");
console.error("done");
