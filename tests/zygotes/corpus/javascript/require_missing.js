try {
  require("./nothing");
} catch (error) {
  console.log(error.code, error.requireStack);
}
require("no-such-package");
