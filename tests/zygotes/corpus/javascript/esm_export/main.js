import { absent } from "./lib.js";
