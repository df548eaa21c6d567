exports.inner = () => __dirname + " " + module.parent.id;
