const error = new Error("outer", { cause: new TypeError("inner", { cause: "text" }) });
error.code = "E_OWN";
throw error;
