import value from "own/sub";
import { createRequire } from "node:module";
console.log(value, createRequire(import.meta.url)("#inner"));
