/**
 * Lets xterm.js live under `style-src 'self'`.
 *
 * It writes its colours into `<style>` elements and true colours into `style` attributes, which such a policy blocks
 * (CSSOM is allowed). The build rewrites exactly those places; a version with other places fails it.
 */
import type { Plugin } from "vite";

interface Rewrite {
  pattern: RegExp;
  replacement: string;
  places: number;
}

const REWRITES: Rewrite[] = [
  { pattern: /[\w.]+\.createElement\("style"\)/g, replacement: "createStyleNode()", places: 3 },
  {
    pattern: /(\w+)\.setAttribute\("style",`\$\{\1\.getAttribute\("style"\)\|\|""\}\$\{(\w+)\};`\)/g,
    replacement: "$1.style.cssText+=$2+';'",
    places: 1,
  },
];
const LEFT_OVER = /createElement\(.style.\)|setAttribute\(.style.|innerHTML|insertAdjacentHTML/;

export function rewrite(code: string): string {
  let result = code;
  for (const { pattern, replacement, places } of REWRITES) {
    const found = code.match(pattern)?.length ?? 0;
    if (found !== places) throw new Error(`xterm.js: ${found} places match ${pattern}, expected ${places}`);
    result = result.replace(pattern, replacement);
  }
  if (LEFT_OVER.test(result)) throw new Error(`xterm.js: a place is left that matches ${LEFT_OVER}`);
  return `import { createStyleNode } from "/src/style-node.ts";\n${result}`;
}

export function xtermCsp(): Plugin {
  return {
    name: "xterm-csp",
    enforce: "pre",
    config: () => ({ optimizeDeps: { exclude: ["@xterm/xterm"] } }),
    transform(code, id) {
      return id.includes("/@xterm/xterm/lib/xterm.mjs") ? { code: rewrite(code), map: null } : null;
    },
  };
}
