import { copyFile, cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { defineConfig, type Plugin } from "vite";
import { RUNTIME_FILES, RUNTIME_FOLDER } from "./src/pixels/runtime.js";

const BUILT = "../server/rowcast_server/page";
const RUNTIME = "node_modules/onnxruntime-web/dist";

/**
 * Beside what vite builds: onnxruntime-web as it is, the package for pages without a build step, and
 * of what a first visit needs a gzip form.
 */
function forTheServer(): Plugin {
  return {
    name: "for-the-server",
    apply: "build",
    enforce: "post",
    async closeBundle() {
      await mkdir(join(BUILT, RUNTIME_FOLDER), { recursive: true });
      for (const name of RUNTIME_FILES) {
        await copyFile(join(RUNTIME, name), join(BUILT, RUNTIME_FOLDER, name));
      }
      await cp("dist", join(BUILT, "client"), {
        recursive: true,
        filter: (name) => !name.endsWith(".d.ts"),
      });
      for (const name of await readdir(BUILT, { recursive: true })) {
        if (!/\.(css|html|js|svg)$/.test(name)) continue;
        const packed = await promisify(gzip)(await readFile(join(BUILT, name)), { level: 9 });
        await writeFile(join(BUILT, `${name}.gz`), packed);
      }
    },
  };
}

export default defineConfig({
  root: "page",
  base: "./", // the server may stand under a prefix
  build: {
    outDir: join("..", BUILT),
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
  },
  worker: { format: "es" },
  plugins: [forTheServer()],
});
