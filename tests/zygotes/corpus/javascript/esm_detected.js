// No package.json: the syntax says that it is a module.
import { basename } from "node:path";
console.log(basename(import.meta.filename), await Promise.resolve("top"));
