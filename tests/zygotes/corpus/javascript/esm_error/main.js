import "./thrower.js";
