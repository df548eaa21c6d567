import { defineConfig } from "vite";
import { xtermCsp } from "./xterm-csp.ts";

/** Where `npm run dev` finds a running daemon. */
const daemon = process.env.RUNNERD ?? "http://127.0.0.1:8080";

export default defineConfig({
  base: "./",
  plugins: [xtermCsp()],
  build: {
    target: "es2022",
    // The content security policy allows neither inline code nor data: URLs.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        // Fetched side by side, and kept by the browser while only the page's own code changes.
        codeSplitting: {
          groups: [
            { name: "terminal", test: /node_modules\/@xterm/ },
            {
              name: "editor",
              test: /node_modules\/(@codemirror\/(?!lang-|legacy-modes)|@lezer\/(common|highlight|lr)\/|@marijn|crelt|style-mod|w3c-keyname)/,
            },
          ],
        },
      },
    },
  },
  server: {
    host: "127.0.0.1",
    proxy: { "/api": { target: daemon, ws: true } },
  },
});
