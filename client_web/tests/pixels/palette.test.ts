import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Palette } from "../../src/pixels/palette.js";

const FILE = new Uint8Array(readFileSync("../server/rowcast_server/models/postcard/palette.npy"));
const [CODES, PIXELS] = [2401, 8];

/** A palette file with this header, and so many bytes after it. */
function npy(header: string, bytes: number): Uint8Array {
  const text = `${header.padEnd(117)}\n`;
  const beginning = [0x93, ...Buffer.from("NUMPY"), 1, 0, text.length, 0];
  return Uint8Array.from([...beginning, ...Buffer.from(text), ...new Uint8Array(bytes)]);
}

const header = (shape: string) => `{'descr': '|u1', 'fortran_order': False, 'shape': ${shape}, }`;

test("each pixel of the file is a square of the picture, red, green and blue", () => {
  const palette = Palette.read(FILE, CODES, PIXELS);
  const { side } = palette;
  const [ids, height] = [Uint32Array.of(0, 2400, 17), 3 * PIXELS];
  const image = new Uint8ClampedArray(4 * height * ids.length * PIXELS);
  palette.paint(ids, new Uint32Array(image.buffer), PIXELS, PIXELS);
  const begin = FILE.length - CODES * side * side * 3;
  const width = ids.length * PIXELS;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const pixel = Array.from(image.subarray(4 * (y * width + x), 4 * (y * width + x) + 4));
      if (y < PIXELS || y >= 2 * PIXELS) {
        expect(pixel).toEqual([0, 0, 0, 0]);
        continue;
      }
      const square = PIXELS / side;
      const [row, col] = [Math.floor((y - PIXELS) / square), Math.floor((x % PIXELS) / square)];
      const id = ids[Math.floor(x / PIXELS)];
      const at = begin + 3 * ((id * side + row) * side + col);
      expect(pixel).toEqual([FILE[at], FILE[at + 1], FILE[at + 2], 255]);
    }
  }
});

describe("a file that is no palette of the model is refused", () => {
  test.each([
    ["nothing", new Uint8Array()],
    ["cut off", FILE.subarray(0, FILE.length - 1)],
    ["longer", Uint8Array.from([...FILE, 0])],
    ["another version", Uint8Array.from(FILE, (byte, at) => (at === 6 ? 2 : byte))],
    ["another order", npy(header("(2401, 4, 4, 3)").replace("False", "True"), 2401 * 48)],
    ["another type", npy(header("(2401, 4, 4, 3)").replace("u1", "i1"), 2401 * 48)],
    ["fewer codes", npy(header("(2400, 4, 4, 3)"), 2400 * 48)],
    ["three pixels for eight", npy(header("(2401, 3, 3, 3)"), 2401 * 27)],
    ["not square", npy(header("(2401, 2, 4, 3)"), 2401 * 24)],
    ["no pixels", npy(header("(2401, 0, 0, 3)"), 0)],
    ["larger than 1 MiB", npy(header("(2401, 16, 16, 3)"), 2401 * 768)],
  ])("%s", (_, file) => {
    expect(() => Palette.read(file, CODES, PIXELS)).toThrow(RangeError);
  });

  test("what these files differ from is taken", () => {
    expect(Palette.read(npy(header("(2401, 4, 4, 3)"), 2401 * 48), CODES, PIXELS).side).toBe(4);
  });
});
