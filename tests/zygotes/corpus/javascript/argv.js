//: args = ["one", "two words", "", "--flag=ü", "-x", "*", "🂡"]
console.log(process.argv, process.argv0, process.execArgv, process.execPath, process.title, process.argv.length);
