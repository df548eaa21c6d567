"use strict";
console.log("first");
undeclared = 1;
