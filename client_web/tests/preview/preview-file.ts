/** Writes files of kind `preview_weights`, of weights by chance that are the same each time. */

import { excess } from "../../src/pixels/self-test.js";
import { readPreviewWeights } from "../../src/preview/weights.js";
import { referencePixels, toRgba } from "./reference.js";

export interface Shape {
  readonly codebookSize: number;
  readonly tableChannels: number;
  /** Width and blocks of each level. */
  readonly levels: readonly (readonly [number, number])[];
  /** 0 float32, 1 float16, 2 int8. */
  readonly kind: 0 | 1 | 2;
  readonly selfTest?: { readonly rows: number; readonly cols: number; readonly side: number };
}

/** Numbers from -1 to 1. Source: Marsaglia 2003, xorshift32. */
export function chance(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state / 2 ** 31;
  };
}

/** A file whose self-test has the thumbnail that the reference paints. */
export function previewFile(shape: Shape): Uint8Array {
  const test = shape.selfTest ?? { rows: 2, cols: 3, side: 1 };
  const draft = write(shape, test, new Uint8Array(3 * test.side ** 2));
  const weights = readPreviewWeights(draft);
  const { ids } = weights.selfTest;
  const width = test.cols * weights.pixelsPerToken;
  const rgba = toRgba(referencePixels(weights, ids, test.cols));
  const thumbnail = new Uint8Array(3 * test.side ** 2);
  // The least value of each entry that passes with no tolerance.
  for (let at = 0; at < thumbnail.length; at++) {
    thumbnail[at] = mean(rgba, width, test.side, at);
  }
  const file = write(shape, test, thumbnail);
  const exact = { ...readPreviewWeights(file).selfTest, tolerance: 0 };
  if (excess(exact, rgba, width) !== 0) throw new Error("the thumbnail is not the picture's");
  return file;
}

function mean(rgba: Uint8ClampedArray, width: number, side: number, entry: number): number {
  const height = rgba.length / 4 / width;
  const [down, across] = [height / side, width / side];
  const [block, channel] = [Math.floor(entry / 3), entry % 3];
  let sum = 0;
  for (let y = 0; y < down; y++) {
    for (let x = 0; x < across; x++) {
      const [row, col] = [Math.floor(block / side) * down + y, (block % side) * across + x];
      sum += rgba[4 * (row * width + col) + channel];
    }
  }
  return Math.floor(sum / (down * across) + 0.5);
}

function write(
  { codebookSize, tableChannels, levels, kind }: Shape,
  { rows, cols, side }: { rows: number; cols: number; side: number },
  thumbnail: Uint8Array,
): Uint8Array {
  const draw = chance(codebookSize);
  const parts: Uint8Array[] = [];
  let length = 0;
  const add = (part: ArrayLike<number> & ArrayBufferView) => {
    const bytes = new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
    parts.push(bytes, new Uint8Array(-bytes.length & 3));
    length += bytes.length + (-bytes.length & 3);
  };
  const tensor = (outputs: number, fanIn: number) => {
    const scale = Math.sqrt(3 / fanIn);
    const values = Float32Array.from({ length: outputs * fanIn }, () => scale * draw());
    add(Uint32Array.of(kind));
    if (kind === 0) add(values);
    if (kind === 1) add(Uint16Array.from(values, half));
    if (kind === 2) {
      add(new Float32Array(outputs).fill(scale / 127));
      add(Int8Array.from(values, (value) => Math.round((127 * value) / scale)));
    }
  };
  const layer = (outputs: number, inputs: number, window: number) => {
    tensor(outputs, inputs * window);
    add(Float32Array.from({ length: outputs }, () => 0.1 * draw()));
  };
  const header = [0x56455250, 1, codebookSize, 2 ** (levels.length - 1), tableChannels];
  add(Uint32Array.of(...header, levels.length, ...levels.flat(), rows, cols, side, 2));
  add(Uint32Array.from({ length: rows * cols }, (_, at) => (7 * at + 1) % codebookSize));
  add(thumbnail);
  tensor(codebookSize, tableChannels);
  layer(levels[0][0], tableChannels, 9);
  for (const [level, [width, blocks]] of levels.entries()) {
    for (let block = 0; block < 2 * blocks; block++) layer(width, width, 9);
    const next = levels[level + 1];
    if (next) layer(4 * next[0], width, 1);
    else layer(3, width, 9);
  }
  const file = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    file.set(part, at);
    at += part.length;
  }
  return file;
}

/** IEEE 754 half precision, of numbers that it has without an infinity; cut. */
function half(value: number): number {
  const [word] = new Uint32Array(Float32Array.of(value * 2 ** -112).buffer);
  return ((word >>> 16) & 0x8000) | ((word >>> 13) & 0x7fff);
}
