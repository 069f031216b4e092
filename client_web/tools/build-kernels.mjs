/**
 * Compile src/preview/kernels.c into src/preview/kernels_wasm.ts, the same bytes each time.
 *
 * node tools/build-kernels.mjs PYTHON — one that has the package ziglang, whose clang it is.
 */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const SOURCE = new URL("../src/preview/kernels.c", import.meta.url).pathname;
const BUILT = new URL("../src/preview/kernels_wasm.ts", import.meta.url).pathname;
const MOST_BYTES = 20_480;
const FLAGS = [
  "-target wasm32-freestanding -O3 -msimd128 -nostdlib",
  "-Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=4096",
].flatMap((line) => line.split(" "));

const [python] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "kernels-"));

function compile(name, ...flags) {
  const built = join(folder, `${name}.wasm`);
  execFileSync(python, ["-m", "ziglang", "cc", ...FLAGS, ...flags, "-o", built, SOURCE], {
    stdio: "inherit",
  });
  const bytes = readFileSync(built);
  if (bytes.length > MOST_BYTES) throw new Error(`${name} has ${bytes.length} bytes`);
  process.stdout.write(`${name}: ${bytes.length} bytes\n`);
  return bytes.toString("base64");
}

const hash = createHash("sha256").update(readFileSync(SOURCE)).digest("hex");
const text = `// Made by \`make kernels\` from kernels.c, whose SHA-256 is
// ${hash}.

/** WebAssembly modules as base64, the first that validates to be taken. */
export const KERNELS = {
  "relaxed simd": "${compile("relaxed", "-mrelaxed-simd")}",
  simd: "${compile("simd")}",
};
`;
writeFileSync(BUILT, text);
rmSync(folder, { recursive: true });
