async function deep() {
  await null;
  throw new Error("deep");
}
async function main() {
  await deep();
}
main().catch((error) => console.log(error.stack));
setImmediate(() => console.log(new Error("immediate").stack));
process.nextTick(() => console.log(new Error("tick").stack));
