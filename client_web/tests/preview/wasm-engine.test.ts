import { setFlagsFromString } from "node:v8";
import { beforeAll, describe, expect, test } from "vitest";
import type { Painted } from "../../src/preview/engine.js";
import { WasmEngine } from "../../src/preview/wasm-engine.js";
import { type PreviewWeights, readPreviewWeights } from "../../src/preview/weights.js";
import { chance, previewFile, type Shape } from "./preview-file.js";
import { referencePixels, toRgba } from "./reference.js";

const SHAPES: Record<string, Shape> = {
  "as postcard's, narrower": shape(40, 32, [16, 2], [8, 2], [24, 1], [8, 0]),
  "channels that fill no block": shape(11, 5, [9, 1], [3, 1]),
  "one pixel a token": shape(7, 4, [8, 1]),
  "blocks at the last resolution": shape(7, 4, [8, 0], [16, 2]),
};

function shape(codebookSize: number, tableChannels: number, ...levels: [number, number][]): Shape {
  return { codebookSize, tableChannels, levels, kind: 0 };
}

function picture(weights: PreviewWeights, rows: number, cols: number, seed = 1): Uint32Array {
  const draw = chance(seed);
  const id = () => Math.floor((draw() * 0.5 + 0.5) * weights.codebookSize);
  return Uint32Array.from({ length: rows * cols }, id);
}

/** Share of bytes that are farther from the reference's than one. */
function shareWrong({ rgba, firstRow, width }: Painted, right: Uint8ClampedArray): number {
  const first = 4 * firstRow * width;
  expect(first + rgba.length).toBe(right.length);
  return rgba.filter((value, at) => Math.abs(value - right[first + at]) > 1).length / rgba.length;
}

describe.each([
  ["wasm relaxed simd", "--experimental-wasm-relaxed-simd"],
  ["wasm simd", "--no-experimental-wasm-relaxed-simd"],
])("%s", (backend, flag) => {
  beforeAll(() => setFlagsFromString(flag)); // Node.js 20 has it behind a flag

  test.each(Object.entries(SHAPES))("paints as the reference: %s", async (_, shape) => {
    const weights = readPreviewWeights(previewFile(shape));
    const engine = await WasmEngine.open(weights);
    expect(engine.backend).toBe(backend);
    for (const [rows, cols] of [
      [1, 1],
      [3, 7],
      [5, 12],
    ]) {
      const ids = picture(weights, rows, cols);
      const painted = engine.paint(1, { ids, cols, rows }, false);
      expect(painted.firstRow).toBe(0);
      const right = toRgba(referencePixels(weights, ids, cols));
      expect(shareWrong(painted, right)).toBe(0);
    }
  });

  test("rows that come one by one", async () => {
    const weights = readPreviewWeights(previewFile(SHAPES["as postcard's, narrower"]));
    const engine = await WasmEngine.open(weights, 0); // whatever changes
    const [rows, cols] = [12, 2];
    const ids = picture(weights, rows, cols);
    const seen = new Uint8ClampedArray(4 * rows * cols * 64);
    for (let held = 1; held <= rows; held++) {
      const grid = { ids: ids.slice(0, held * cols), cols, rows };
      const painted = engine.paint(5, grid, false);
      seen.set(painted.rgba, 4 * painted.firstRow * painted.width);
      const whole = engine.paint(6, grid, true).rgba;
      expect(seen.subarray(0, whole.length)).toEqual(whole);
      expect(painted.firstRow > 0).toBe(held > 8); // a row reaches nearly eight rows up
    }
    const whole = { firstRow: 0, rgba: seen, width: 8 * cols, height: 8 * rows };
    expect(shareWrong(whole, toRgba(referencePixels(weights, ids, cols)))).toBe(0);
  });
});
