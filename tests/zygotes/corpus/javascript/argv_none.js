console.log(process.argv, process.execArgv, process.argv0);
