console.log(require("inspector").url(), require("v8").getHeapStatistics().number_of_native_contexts, process.sourceMapsEnabled, process.noDeprecation, process.throwDeprecation);
