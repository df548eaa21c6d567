console.log(require.main === module, module.id, module.filename, module.loaded, module.parent, module.children, module.path);
console.log(module.paths, require.main.paths === module.paths, __filename, __dirname, Object.keys(require.cache));
console.log(require.resolve("./main"), require.resolve.paths("x"), Object.keys(require), Object.keys(require.extensions));
