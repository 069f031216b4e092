import { defineConfig } from "vite";

export default defineConfig({
  root: "page",
  base: "./", // the server may stand under a prefix
  build: {
    outDir: "../../server/rowcast_server/page",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
  },
  worker: { format: "es" },
});
