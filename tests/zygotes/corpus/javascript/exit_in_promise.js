(async () => {
  await null;
  process.exit(6);
})();
