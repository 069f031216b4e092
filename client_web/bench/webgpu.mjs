/**
 * The preview on WebGPU, in Node.js: whether it paints what WebAssembly paints, and how long a
 * picture takes. WebGPU is the npm package `webgpu` (Dawn), which package.json does not name: of it
 * one file is needed, dist/linux-x64/dawn.node.
 *
 * npm run build
 * node bench/webgpu.mjs DAWN.node WEIGHTS.bin… [--rounds 50]
 *
 * A line of JSON for each file; times are medians, in milliseconds, from ids to bytes in the
 * processor's memory. Exits with 1 where a file's self-test fails, or where over 0.1 % of the bytes
 * are farther than one from WebAssembly's.
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { excess } from "../dist/pixels/self-test.js";
import { WasmEngine } from "../dist/preview/wasm-engine.js";
import { WebGpuEngine } from "../dist/preview/webgpu-engine.js";
import { readPreviewWeights } from "../dist/preview/weights.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: "string", default: "50" } },
});
const [dawn, ...files] = positionals;
const webgpu = createRequire(import.meta.url)(resolve(dawn));
Object.assign(globalThis, webgpu.globals);
const gpu = webgpu.create([]); // to be kept: it takes its adapters with it

const GRIDS = [
  [16, 16],
  [7, 16],
  [1, 3],
]; // rows, cols
const round = (number) => Number(number.toPrecision(4));
let isWrong = false;

for (const file of files) {
  const adapter = await gpu.requestAdapter(); // each gives one device
  if (adapter === null) throw new Error("no adapter: is there a Vulkan driver (VK_DRIVER_FILES)?");
  const weights = readPreviewWeights(new Uint8Array(readFileSync(file)));
  const opened = performance.now();
  const ours = await WebGpuEngine.open(weights, adapter);
  const openMs = performance.now() - opened;
  const wasm = await WasmEngine.open(weights);
  const picture = (rows, cols) =>
    Uint32Array.from({ length: rows * cols }, (_, at) => (at * 7919 + 13) % weights.codebookSize);
  const { selfTest } = weights;
  const own = { ids: Uint32Array.from(selfTest.ids), rows: selfTest.rows, cols: selfTest.cols };
  const tested = await ours.paint(0, own, true);
  const beyond = excess(selfTest, tested.rgba, tested.width);
  const shares = [];
  for (const [rows, cols] of GRIDS) {
    const grid = { ids: picture(rows, cols), rows, cols };
    const right = wasm.paint(0, grid, true).rgba;
    const { rgba } = await ours.paint(0, grid, true);
    shares.push(right.filter((byte, at) => Math.abs(byte - rgba[at]) <= 1).length / right.length);
  }
  const times = { gpu: [], wasm: [] };
  const grid = { ids: picture(16, 16), rows: 16, cols: 16 };
  for (let number = 0; number < Number(values.rounds); number++) {
    for (const [name, engine] of Object.entries({ gpu: ours, wasm })) {
      const begin = performance.now();
      await engine.paint(0, grid, true);
      times[name].push(performance.now() - begin);
    }
  }
  const median = (numbers) => numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
  isWrong ||= beyond > 0 || Math.min(...shares) < 0.999;
  const line = {
    weights: file.split("/").at(-1),
    adapter: `${adapter.info.vendor} ${adapter.info.architecture} ${adapter.info.description}`,
    self_test_beyond: beyond,
    within_one_of_wasm: Math.min(...shares),
    open_ms: round(openMs),
    gpu_ms: round(median(times.gpu)),
    wasm_ms: round(median(times.wasm)),
    wasm: wasm.backend,
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
process.exit(isWrong ? 1 : 0);
