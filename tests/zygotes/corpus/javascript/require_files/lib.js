console.log("loading", module.id, module.parent.id, require.main.filename);
exports.name = "lib";
