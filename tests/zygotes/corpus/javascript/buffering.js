//: modes = ["terminal", "split", "pipes"]
process.stdout.write("a line\nno line");
process.stderr.write("error line\nerror part");
process.reallyExit(3);
