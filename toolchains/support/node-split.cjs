// Makes readline behave on a terminal without echo (split mode) as it does on a pipe: no echo and no escapes of its own.
"use strict";
const readline = require("readline");
for (const module of [readline, require("readline/promises")]) {
  const create = module.createInterface;
  module.createInterface = (input, output, ...rest) => {
    if (input && input.input !== undefined) return create({ terminal: false, ...input }, output, ...rest);
    return create({ input, output, completer: rest[0], terminal: false });
  };
}
delete process.env.NODE_OPTIONS;
