//: modes = ["terminal", "split", "pipes"]
//: talk = [["name? ", "Adx\u007fa\n"], ["age? ", "36\n"]]
const readline = require("readline");
const terminal = readline.createInterface({ input: process.stdin, output: process.stdout });
terminal.question("name? ", (name) => {
  terminal.question("age? ", (age) => {
    console.log(JSON.stringify([name, age]), terminal.terminal);
    terminal.close();
  });
});
