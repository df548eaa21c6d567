import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { describe, expect, it } from "vitest";
import { rewrite } from "../xterm-csp.ts";

const xterm = readFileSync(createRequire(import.meta.url).resolve("@xterm/xterm/lib/xterm.mjs"), "utf8");

describe("the rewrite of xterm.js", () => {
  it("leaves no style element and no style attribute", () => {
    expect(xterm).toMatch(/createElement\("style"\)/);
    expect(rewrite(xterm)).not.toMatch(/createElement\("style"\)|setAttribute\("style"/);
  });

  it("refuses a version with other places", () => {
    expect(() => rewrite(`${xterm}\ndocument.createElement("style")`)).toThrow(/expected 3/);
    expect(() => rewrite(`${xterm}\nhost.innerHTML = ""`)).toThrow(/a place is left/);
  });
});
