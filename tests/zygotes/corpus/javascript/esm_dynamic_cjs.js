console.log(module.id);
import("node:path").then(async (path) => {
  console.log(path.default === require("path"));
  require("fs").writeFileSync("late.mjs", "export default import.meta.url;");
  console.log((await import("./late.mjs")).default);
});
