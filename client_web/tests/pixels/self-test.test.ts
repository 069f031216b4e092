import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { excess, onnxMetadata } from "../../src/pixels/self-test.js";

const POSTCARD = "../server/rowcast_server/models/postcard";

test.each(["detokenizer.onnx", "preview.fp16.onnx"])("the metadata of %s", (name) => {
  const manifest = JSON.parse(readFileSync(`${POSTCARD}/manifest.json`, "utf-8"));
  const entry = manifest.files.find((each: { file: string }) => each.file === name);
  const file = new Uint8Array(readFileSync(`${POSTCARD}/${name}`));
  expect(Object.fromEntries(onnxMetadata(file))).toEqual(entry.metadata);
});

test.each([
  ["cut off", [0x72, 5, 1]],
  ["an endless number", new Array(12).fill(0xff)],
  ["a group", [0x73]],
])("bytes that are no ONNX file: %s", (_, bytes) => {
  expect(() => onnxMetadata(Uint8Array.from(bytes))).toThrow(RangeError);
});

test("a picture passes that is no farther from the thumbnail than the tolerance", () => {
  const side = 2;
  const thumbnail = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120];
  const about = { rows: 1, cols: 1, ids: [0], thumbnail, thumbnail_side: side, tolerance: 2 };
  const picture = new Uint8ClampedArray(4 * 16).fill(255); // 4 x 4
  for (let pixel = 0; pixel < 16; pixel++) {
    const block = side * Math.floor(pixel / 8) + Math.floor((pixel % 4) / 2);
    for (let channel = 0; channel < 3; channel++) {
      picture[4 * pixel + channel] = thumbnail[3 * block + channel];
    }
  }
  expect(excess(about, picture, 4)).toBe(0);
  for (const pixel of [0, 1, 4, 5]) picture[4 * pixel + 2] += 2;
  expect(excess(about, picture, 4)).toBe(0);
  for (const pixel of [0, 1]) picture[4 * pixel + 2] += 1; // half of a block, so the mean is 2.5 off
  expect(excess(about, picture, 4)).toBe(1);
});
