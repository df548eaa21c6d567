console.log(Reflect.ownKeys(process), Object.keys(process.features), process.versions.node, process.release.name);
console.log(process.eventNames(), process.listenerCount("exit"), process.getMaxListeners(), process.exitCode);
console.log(process.allowedNodeEnvironmentFlags.size, process.config.variables.node_shared, process.debugPort);
