/**
 * What the preview costs in WebAssembly, on one thread: our kernels against onnxruntime-web's, one
 * after the other in pairs in the same process, and an update of one row against a whole decode.
 *
 * npm run build
 * node --experimental-wasm-relaxed-simd bench/preview.mjs WEIGHTS.bin MODEL.onnx
 *   [--rows 16] [--cols 16] [--rounds 20] [--unchanged 0.01]
 *
 * The last line is JSON. Times are medians, in milliseconds.
 */

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import * as ort from "onnxruntime-web/wasm";
import { WasmEngine } from "../dist/preview/wasm-engine.js";
import { readPreviewWeights } from "../dist/preview/weights.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: "string", default: "16" },
    cols: { type: "string", default: "16" },
    rounds: { type: "string", default: "20" },
    unchanged: { type: "string" },
  },
});
const [rows, cols, rounds] = [values.rows, values.cols, values.rounds].map(Number);
const [weightsPath, onnxPath] = positionals;

const opened = performance.now();
const weights = readPreviewWeights(new Uint8Array(readFileSync(weightsPath)));
const unchanged = values.unchanged === undefined ? [] : [Number(values.unchanged)];
const engine = await WasmEngine.open(weights, ...unchanged);
const openMs = performance.now() - opened;

ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(readFileSync(onnxPath), {
  executionProviders: ["wasm"],
});

/** Ids of a picture by chance: neighbours have nothing in common, which is the worst case. */
function chance(seed) {
  let state = seed;
  return Uint32Array.from({ length: rows * cols }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * weights.codebookSize);
  });
}

async function byOnnx(ids) {
  const input = BigInt64Array.from(ids, BigInt);
  const feeds = { ids: new ort.Tensor("int64", input, [1, ids.length / cols, cols]) };
  return (await session.run(feeds)).pixels.data;
}

function byOurs(ids, picture, exact) {
  return engine.paint(picture, { ids, rows, cols }, exact);
}

async function time(work) {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle - 1)]) / 2;
}

/** Share of a picture's bytes that are no farther than one from the ONNX file's. */
function agreement(rgba, planes) {
  const area = planes.length / 3;
  let right = 0;
  for (let at = 0; at < planes.length; at++) {
    const byte = Math.floor(Math.fround(255 * planes[at]));
    const ours = rgba[4 * (at % area) + Math.floor(at / area)];
    if (Math.abs(byte - ours) <= 1) right++;
  }
  return right / planes.length;
}

const round = (number) => Number(number.toPrecision(4));

const whole = { ours: [], onnx: [] };
const updates = Array.from({ length: rows }, () => []);
const agreed = { whole: 1, updated: 1 };
for (let number = -3; number < rounds; number++) {
  const ids = chance(number + 100);
  const ours = await time(() => byOurs(ids, 0, true));
  const onnx = await time(() => byOnnx(ids));
  const seen = new Uint8ClampedArray(4 * ids.length * weights.pixelsPerToken ** 2);
  for (let held = 1; held <= rows; held++) {
    const part = ids.slice(0, held * cols);
    let painted;
    const taken = await time(() => {
      painted = byOurs(part, 1, false);
    });
    seen.set(painted.rgba, 4 * painted.firstRow * painted.width);
    if (number < 0) agreed.updated = Math.min(agreed.updated, agreement(seen, await byOnnx(part)));
    else updates[held - 1].push(taken);
  }
  engine.forget(1);
  if (number < 0) {
    const share = agreement(byOurs(ids, 0, true).rgba, await byOnnx(ids));
    agreed.whole = Math.min(agreed.whole, share);
  } else {
    whole.ours.push(ours);
    whole.onnx.push(onnx);
  }
}
const wholeMs = median(whole.ours);
const updateMs = updates.map(median);
const mean = updateMs.reduce((sum, each) => sum + each) / rows;
const result = {
  backend: engine.backend,
  weights: weightsPath.split("/").at(-1),
  rows,
  cols,
  open_ms: round(openMs),
  whole_ms: round(wholeMs),
  onnxruntime_web_ms: round(median(whole.onnx)),
  of_onnxruntime_web: round(median(whole.ours.map((ours, at) => ours / whole.onnx[at]))),
  update_ms: updateMs.map(round),
  update_mean_of_whole: round(mean / wholeMs),
  update_worst_of_whole: round(Math.max(...updateMs) / wholeMs),
  within_one_whole: agreed.whole,
  within_one_updated: agreed.updated,
};
process.stdout.write(`${JSON.stringify(result)}\n`);
