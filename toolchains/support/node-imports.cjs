// `import` for code that the inspector evaluates, which has none: calls of a function take its place.
//
// Every line stays where it is, and statements are carried out where they stand. It is V8 that tells `import` from what
// only looks like it (in texts, comments, names of methods): in its place a statement is an error of a kind of its own,
// and so is `import.meta`.
"use strict";
const vm = require("vm");

const NAME = "__import";
const STATEMENT = "Cannot use import statement outside a module";
const META = "Cannot use 'import.meta' outside a module";
const WRAPPER = "(async()=>{";
const TOKEN =
  /(?:\s|\/\*[^]*?\*\/|\/\/.*)*([\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*|"(?:\\[^]|[^"\\])*"|'(?:\\[^]|[^'\\])*'|[{},*:])/uy;

// A function that translates code. `debug` is the inspector; names are relative to `file`.
module.exports = (debug, file) => {
  const options = { filename: file, importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER };
  const load = new vm.Script("(name, options) => import(name, options)", options).runInThisContext();

  Object.defineProperty(globalThis, NAME, {
    value: async (name, options, ...wanted) => {
      const found = await quietly(() => load(name, options));
      const missing = wanted.find((each) => !(each in found));
      if (missing === undefined) return found;
      throw new SyntaxError(`The requested module '${name}' does not provide an export named '${missing}'`);
    },
  });

  // Where V8 finds this error, if it is the first in the code.
  const find = (message, source) => {
    const expression = `${WRAPPER}${source.replace(/^#!/, "//")}\n})`;
    let failed;
    debug.post("Runtime.enable"); // for this alone: it keeps what the console is given
    debug.post("Runtime.compileScript", { expression, sourceURL: "", persistScript: false }, (_, reply) => {
      failed = reply?.exceptionDetails;
    });
    if (failed?.exception?.objectId) debug.post("Runtime.releaseObject", { objectId: failed.exception.objectId });
    debug.post("Runtime.disable");
    if (!failed?.exception?.description?.startsWith(`SyntaxError: ${message}`)) return undefined;
    const { lineNumber: line, columnNumber: column } = failed;
    if (line === 0) return column - WRAPPER.length;
    const ends = source.matchAll(/\r\n|[\n\r\u2028\u2029]/g);
    const end = ends.drop(line - 1).next().value;
    return end.index + end[0].length + column;
  };

  return (source) => {
    if (!/\bimport\b/.test(source)) return source;
    for (let at; (at = find(STATEMENT, source)) !== undefined; ) {
      const statement = read(source, at);
      if (!statement) break; // evaluation tells what is wrong with it
      const lines = source.slice(at, statement.end).match(/\r\n|[\n\r\u2028\u2029]/g) ?? [];
      source = source.slice(0, at) + statement.code + lines.join("") + source.slice(statement.end);
    }
    for (const { index } of [...source.matchAll(/\bimport(?=\s*\()/g)].reverse()) {
      const [before, after] = [source.slice(0, index), source.slice(index + "import".length)];
      // The error stands at `meta`.
      if (find(META, `${before}import.meta${after}`) === index + "import.".length) source = before + NAME + after;
    }
    return source;
  };
};

// Without the warning that the loader of vm's code is experimental.
function quietly(body) {
  const warn = process.emitWarning;
  process.emitWarning = () => {};
  try {
    return body();
  } finally {
    process.emitWarning = warn;
  }
}

// An import statement that begins `at`: code that does the same, and its end. undefined when it is none.
function read(source, at) {
  let end = at + "import".length;
  const next = () => {
    TOKEN.lastIndex = end;
    const token = TOKEN.exec(source)?.[1] ?? "";
    if (token) end = TOKEN.lastIndex;
    return token;
  };
  const isText = (token) => /^["']/.test(token);
  const names = []; // "exported": local
  const words = []; // "exported"
  const take = (exported, local) => {
    words.push(isText(exported) ? exported : `"${exported}"`);
    names.push(`${words.at(-1)}: ${local}`);
  };
  let space, attributes;
  let token = next();
  if (!isText(token)) {
    if (token !== "{" && token !== "*") {
      take("default", token);
      token = next();
      if (token === ",") token = next();
      else if (token !== "from") return undefined;
    }
    if (token === "*") {
      if (next() !== "as") return undefined;
      space = next();
      token = next();
    } else if (token === "{") {
      token = next();
      while (token !== "}") {
        const exported = token;
        let local = exported;
        token = next();
        if (token === "as") [local, token] = [next(), next()];
        take(exported, local);
        if (token === ",") token = next();
        else if (token !== "}") return undefined;
      }
      token = next();
    }
    if (token !== "from" || !isText((token = next()))) return undefined;
  }
  const whole = end;
  if (next() === "with" && next() === "{") {
    const begin = end - 1;
    for (let inner = next(); inner !== "}"; inner = next()) if (!inner) return undefined;
    attributes = `{ with: ${source.slice(begin, end).replace(/\s+/g, " ")} }`;
  } else end = whole;
  const call = `await ${NAME}(${[token, attributes ?? "undefined", ...words].join(", ")})`;
  if (space) return { end, code: `const ${space} = ${call}${names.length ? `, { ${names} } = ${space}` : ""};` };
  return { end, code: names.length ? `const { ${names.join(", ")} } = ${call};` : `${call};` };
}
