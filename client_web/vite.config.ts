import { copyFile, cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { defineConfig, type Plugin } from "vite";
import { RUNTIME_FILES, RUNTIME_FOLDER } from "./src/pixels/runtime.js";
import { committedFigures } from "./tools/transport-figures.js";

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

/** What the calculator at /cost computes with, cut out of the committed results. */
function transportFigures(): Plugin {
  const name = "virtual:transport";
  return {
    name: "transport-figures",
    resolveId: (id) => (id === name ? `\0${name}` : null),
    load: (id) =>
      id === `\0${name}` ? `export default ${JSON.stringify(committedFigures())}` : null,
  };
}

/** The calculator's own copies of modules that the page has: a chunk of both would cost the page. */
function ownCopies(): Plugin {
  return {
    name: "own-copies",
    enforce: "pre",
    async resolveId(id, importer) {
      if (!importer?.includes("/page/cost/") || !id.startsWith("../")) return null;
      const found = await this.resolve(id, importer, { skipSelf: true });
      return found && { ...found, id: `${found.id}?cost` };
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
    rolldownOptions: { input: ["page/index.html", "page/cost.html"] },
  },
  worker: { format: "es" },
  plugins: [transportFigures(), ownCopies(), forTheServer()],
});
