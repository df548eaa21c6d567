export const value = 42;
console.log("lib first");
