import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { WasmEngine } from "../../src/preview/wasm-engine.js";
import { readPreviewWeights } from "../../src/preview/weights.js";
import { previewFile, type Shape } from "./preview-file.js";

const VECTOR = JSON.parse(readFileSync("../tests/vectors/preview_weights.json", "utf-8"));
const SMALL: Shape = {
  codebookSize: 5,
  tableChannels: 4,
  levels: [
    [3, 1],
    [2, 0],
  ],
  kind: 2,
};

test("the shared vector", async () => {
  const weights = readPreviewWeights(Uint8Array.from(Buffer.from(VECTOR.hex, "hex")));
  const ids = Uint32Array.from(VECTOR.ids.flat());
  const [rows, cols] = [VECTOR.ids.length, VECTOR.ids[0].length];
  const engine = await WasmEngine.open(weights);
  const { rgba } = engine.paint(0, { ids, rows, cols }, true);
  const right: number[] = VECTOR.pixels.flat(2);
  expect(rgba.length / 4).toBe(right.length / 3);
  for (const [at, byte] of right.entries()) {
    expect(Math.abs(rgba[4 * Math.floor(at / 3) + (at % 3)] - byte)).toBeLessThanOrEqual(1);
  }
});

test("sizes, self-test and layers", () => {
  const weights = readPreviewWeights(previewFile(SMALL));
  expect(weights).toMatchObject({ codebookSize: 5, pixelsPerToken: 2, tableChannels: 4 });
  expect(weights.selfTest).toMatchObject({ rows: 2, cols: 3, ids: [1, 3, 0, 2, 4, 1] });
  const sizes = weights.layers.map(({ kind, level, inputs, outputs }) =>
    [kind, level, inputs, outputs].join(" "),
  );
  expect(sizes).toEqual(["in 0 4 3", "first 0 3 3", "second 0 3 3", "up 0 3 8", "out 1 2 3"]);
});

test.each([0, 1, 2] as const)("tensors of type %i", (kind) => {
  const { layers, table } = readPreviewWeights(previewFile({ ...SMALL, kind }));
  const exact = readPreviewWeights(previewFile({ ...SMALL, kind: 0 }));
  const near = { 0: 0, 1: 2 ** -10, 2: 1 / 254 }[kind];
  for (const [at, value] of table.entries()) {
    expect(Math.abs(value - exact.table[at])).toBeLessThanOrEqual(near);
  }
  for (const [index, { weights }] of layers.entries()) {
    for (const [at, value] of weights.entries()) {
      const distance = Math.abs(value - exact.layers[index].weights[at]);
      expect(distance).toBeLessThanOrEqual(1.01 * near);
    }
  }
});

test("half precision, value by value", () => {
  const file = previewFile({ ...SMALL, kind: 1, codebookSize: 5 });
  const view = new DataView(file.buffer);
  const table = 4 * (6 + 2 * 2 + 4 + 6) + 4 + 4; // behind header, ids, thumbnail and type
  const cases: [number, number][] = [
    [0x3c00, 1],
    [0xc000, -2],
    [0x7bff, 65504],
    [0x0001, 2 ** -24], // subnormal
    [0x83ff, -1023 * 2 ** -24],
    [0x8000, -0],
    [0x3555, 0.333251953125],
  ];
  for (const [at, [half]] of cases.entries()) view.setUint16(table + 2 * at, half, true);
  const read = readPreviewWeights(file).table;
  for (const [at, [, value]] of cases.entries()) expect(read[at]).toBe(value);
});

describe("files that are none", () => {
  const file = previewFile(SMALL);
  const levels = 24; // the byte where those of the levels begin
  const selfTest = levels + 16;
  const words: [string, number, number][] = [
    ["another beginning", 0, 0x56455251],
    ["another version", 4, 2],
    ["no codes", 8, 0],
    ["2^32 - 1 codes", 8, 2 ** 32 - 1],
    ["a codebook that ids of the self-test are beyond", 8, 4],
    ["pixels a token that the levels do not give", 12, 4],
    ["channels of a table that is cut off", 16, 2 ** 32 - 1],
    ["no table channels", 16, 0],
    ["no levels", 20, 0],
    ["2^32 - 1 levels", 20, 2 ** 32 - 1],
    ["no channels", levels, 0],
    ["2^32 - 1 channels", levels, 2 ** 32 - 1],
    ["2^32 - 1 blocks", levels + 4, 2 ** 32 - 1],
    ["one block more", levels + 12, 1],
    ["a self-test of 2^31 rows", selfTest, 2 ** 31],
    ["a self-test of no columns", selfTest + 4, 0],
    ["a thumbnail that does not divide the picture", selfTest + 8, 3],
    ["a thumbnail of nothing", selfTest + 8, 0],
    ["a thumbnail of 2^31 blocks", selfTest + 8, 2 ** 31],
    ["a tensor of another type", selfTest + 44, 3],
  ];
  test.each(words)("%s", (_, at, value) => {
    const changed = file.slice();
    expect(() => readPreviewWeights(changed)).not.toThrow();
    new DataView(changed.buffer).setUint32(at, value, true);
    expect(() => readPreviewWeights(changed)).toThrow(RangeError);
  });

  test("cut off anywhere", () => {
    for (let length = 0; length < file.length; length++) {
      expect(() => readPreviewWeights(file.subarray(0, length))).toThrow(RangeError);
    }
  });

  test("longer", () => {
    const longer = new Uint8Array(file.length + 4);
    longer.set(file);
    expect(() => readPreviewWeights(longer)).toThrow(/goes on after its end/);
  });

  test.each([
    [
      "a float that is no number",
      0,
      (view: DataView, at: number) => view.setFloat32(at, Number.NaN, true),
    ],
    ["an infinite float", 0, (view: DataView, at: number) => view.setFloat32(at, -1 / 0, true)],
    [
      "a half that is infinite",
      1,
      (view: DataView, at: number) => view.setUint16(at, 0x7c00, true),
    ],
    [
      "a half that is no number",
      1,
      (view: DataView, at: number) => view.setUint16(at, 0xfe01, true),
    ],
    [
      "a scale that is no number",
      2,
      (view: DataView, at: number) => view.setFloat32(at, Number.NaN, true),
    ],
    [
      "a product that is infinite",
      2,
      (view: DataView, at: number) => view.setFloat32(at, 3.4e38, true),
    ],
  ] as const)("%s", (_, kind, put) => {
    const wrong = previewFile({ ...SMALL, kind });
    put(new DataView(wrong.buffer), selfTest + 48); // the first of the table
    expect(() => readPreviewWeights(wrong)).toThrow(/no finite number/);
  });
});
