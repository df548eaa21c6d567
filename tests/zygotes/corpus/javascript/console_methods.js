console.table([{ a: 1, b: 2 }]);
console.group("group");
console.warn("inside");
console.groupEnd();
console.count();
console.assert(false, "failed");
console.dir({ deep: { deeper: { deepest: {} } } }, { depth: 0 });
console.trace("here");
