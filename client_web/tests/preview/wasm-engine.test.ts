import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { excess } from "../../src/pixels/self-test.js";
import type { Painted } from "../../src/preview/engine.js";
import { KERNELS } from "../../src/preview/kernels_wasm.js";
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

const POSTCARD = "../server/rowcast_server/models/postcard/preview.int8.bin";

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

vi.setConfig({ testTimeout: 30_000 });

/** Have the engine find one of its two modules alone. */
function leaveOnly(name: keyof typeof KERNELS): void {
  const code = Buffer.from(KERNELS[name], "base64");
  if (!WebAssembly.validate(code)) setFlagsFromString("--experimental-wasm-relaxed-simd"); // Node.js 20
  expect(WebAssembly.validate(code)).toBe(true);
  const validate = (bytes: BufferSource) => code.equals(bytes as Uint8Array);
  vi.spyOn(WebAssembly, "validate").mockImplementation(validate);
}

describe.each(["relaxed simd", "simd"] as const)("%s", (name) => {
  beforeAll(() => leaveOnly(name));
  afterAll(() => vi.restoreAllMocks());

  test.each(Object.entries(SHAPES))("paints as the reference: %s", async (_, shape) => {
    const weights = readPreviewWeights(previewFile(shape));
    const engine = await WasmEngine.open(weights);
    expect(engine.backend).toBe(`wasm ${name}`);
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

  test("other ids above, fewer rows, another grid: whatever was kept", async () => {
    const weights = readPreviewWeights(previewFile(SHAPES["blocks at the last resolution"]));
    const engine = await WasmEngine.open(weights, 0);
    const [one, other] = [picture(weights, 9, 4), picture(weights, 9, 4, 3)];
    const mixed = Uint32Array.of(...one.subarray(0, 20), ...other.subarray(20));
    const seen = new Uint8ClampedArray(4 * 9 * 4 * 4);
    for (const [ids, cols, rows] of [
      [one, 4, 9],
      [mixed, 4, 9],
      [mixed, 4, 9], // nothing is new
      [one.slice(0, 12), 4, 9],
      [one.slice(0, 16), 4, 9],
      [one, 6, 6],
      [one.slice(0, 30), 6, 12],
    ] as const) {
      const painted = engine.paint(1, { ids, cols, rows }, false);
      seen.set(painted.rgba, 4 * painted.firstRow * painted.width);
      const whole = engine.paint(2, { ids, cols, rows }, true).rgba;
      expect(seen.subarray(0, whole.length)).toEqual(whole);
      expect(painted.height).toBe((2 * ids.length) / cols);
    }
  });

  test("postcard's own file", async () => {
    const weights = readPreviewWeights(new Uint8Array(readFileSync(POSTCARD)));
    const engine = await WasmEngine.open(weights);
    const { ids, rows, cols } = weights.selfTest;
    const tested = engine.paint(0, { ids: Uint32Array.from(ids), rows, cols }, true);
    expect(excess(weights.selfTest, tested.rgba, tested.width)).toBe(0);

    // Rows that come one by one, what changes too little being left; each as seen at the time.
    const grid = picture(weights, 16, 16);
    const seen = new Uint8ClampedArray(4 * 128 * 128);
    for (let held = 1; held <= 16; held++) {
      const part = { ids: grid.slice(0, 16 * held), cols: 16, rows: 16 };
      const painted = engine.paint(1, part, false);
      seen.set(painted.rgba, 4 * 128 * painted.firstRow);
      const whole = engine.paint(2, part, true);
      const rgba = seen.slice(0, whole.rgba.length);
      expect(shareWrong({ ...whole, rgba }, whole.rgba)).toBeLessThan(0.001);
    }
  });

  test("what is kept of many pictures is bounded, the oldest goes", async () => {
    const weights = readPreviewWeights(previewFile(shape(4, 256, [8, 0])));
    const engine = await WasmEngine.open(weights);
    const paint = (number: number, held = 64) => {
      const ids = picture(weights, 64, 64, number).slice(0, 64 * held);
      return engine.paint(number, { ids, cols: 64, rows: 64 }, false).firstRow;
    };
    const most = 29; // each takes 66 x 66 x (256 + 8) x 4 bytes, of 128 MiB
    for (let number = 0; number <= most; number++) expect(paint(number, 32)).toBe(0);
    expect(paint(0)).toBe(0); // as it was forgotten, and number 1 now is
    expect(paint(most)).toBeGreaterThan(0);
    expect(paint(1)).toBe(0);
    engine.forget(most);
    expect(paint(most)).toBe(0);
  });
});

test("the modules are those of kernels.c: else run `make kernels`", () => {
  const source = readFileSync("src/preview/kernels.c");
  const hash = createHash("sha256").update(source).digest("hex");
  expect(readFileSync("src/preview/kernels_wasm.ts", "utf-8")).toContain(hash);
  for (const base64 of Object.values(KERNELS)) {
    expect(Buffer.from(base64, "base64").length).toBeLessThan(20_480);
  }
});

test("without SIMD there is an error in words", async () => {
  vi.spyOn(WebAssembly, "validate").mockReturnValue(false);
  const weights = readPreviewWeights(previewFile(SHAPES["one pixel a token"]));
  await expect(WasmEngine.open(weights)).rejects.toThrow("no SIMD");
  vi.restoreAllMocks();
});
