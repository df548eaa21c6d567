require("./broken");
