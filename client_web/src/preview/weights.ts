/**
 * The file of kind `preview_weights`: a small convolutional decoder, flat.
 *
 * Source: protocol.md, R-128 to R-131.
 */

import type { SelfTest } from "../pixels/self-test.js";

/**
 * One convolution; its input is the output of the one before, that of the first are the table's
 * entries. A block is "first", before and after which negative values become 0, and "second", to
 * whose output the input of "first" is added. What comes of "up" are four pixels.
 */
export interface Layer {
  readonly kind: "in" | "first" | "second" | "up" | "out";
  /** Its input has cols * 2^level pixels across. */
  readonly level: number;
  readonly inputs: number;
  readonly outputs: number;
  /** [outputs, inputs, ky, kx]; the window is 3x3, that of "up" 1x1. */
  readonly weights: Float32Array;
  readonly bias: Float32Array;
}

export interface PreviewWeights {
  readonly codebookSize: number;
  readonly pixelsPerToken: number;
  readonly tableChannels: number;
  /** [codebookSize, tableChannels] */
  readonly table: Float32Array;
  readonly layers: readonly Layer[];
  readonly selfTest: SelfTest;
}

const MOST_LEVELS = 7; // 64 pixels a token
const MOST_TOKENS = 64; // of a grid, across or down

/** Read a file. Throws RangeError, saying why, for one that is none. */
export function readPreviewWeights(file: Uint8Array): PreviewWeights {
  const reader = new Reader(file);
  reader.word(0x56455250, 0x56455250); // PREV
  reader.word(1, 1); // the version
  const codebookSize = reader.word(1);
  const pixelsPerToken = reader.word(1);
  const tableChannels = reader.word(1);
  const levels = reader.word(1, MOST_LEVELS);
  if (2 ** (levels - 1) !== pixelsPerToken) reader.fail();
  const sizes = Array.from({ length: levels }, () => [reader.word(1), reader.word()]);
  const selfTest = readSelfTest(reader, codebookSize, pixelsPerToken);
  const table = reader.tensor(codebookSize, tableChannels);
  const layers: Layer[] = [];
  const add = (kind: Layer["kind"], level: number, inputs: number, outputs: number) => {
    const weights = reader.tensor(outputs, inputs * (kind === "up" ? 1 : 9));
    layers.push({ kind, level, inputs, outputs, weights, bias: reader.floats(outputs) });
  };
  add("in", 0, tableChannels, sizes[0][0]);
  for (const [level, [width, blocks]] of sizes.entries()) {
    for (let block = 0; block < blocks; block++) {
      add("first", level, width, width);
      add("second", level, width, width);
    }
    const next = sizes[level + 1];
    if (next) add("up", level, width, 4 * next[0]);
    else add("out", level, width, 3);
  }
  reader.end();
  return { codebookSize, pixelsPerToken, tableChannels, table, layers, selfTest };
}

function readSelfTest(reader: Reader, codebookSize: number, pixelsPerToken: number): SelfTest {
  const rows = reader.word(1, MOST_TOKENS);
  const cols = reader.word(1, MOST_TOKENS);
  const side = reader.word(1, MOST_TOKENS * pixelsPerToken);
  const tolerance = reader.word();
  if ((rows * pixelsPerToken) % side || (cols * pixelsPerToken) % side) reader.fail();
  const ids = Array.from({ length: rows * cols }, () => reader.word(0, codebookSize - 1));
  const thumbnail = [...reader.bytes(3 * side * side)];
  return { rows, cols, ids, thumbnail, thumbnail_side: side, tolerance };
}

/** Takes part after part; whatever is made of one, the file has the bytes for. */
class Reader {
  private readonly file: Uint8Array<ArrayBuffer>;
  private at = 0;

  constructor(file: Uint8Array) {
    this.file = new Uint8Array(file);
  }

  fail(why = "has a value that it cannot have"): never {
    throw new RangeError(`the file of preview weights ${why}, before its byte ${this.at}`);
  }

  word(least = 0, most = 2 ** 32 - 1): number {
    const [value] = new Uint32Array(this.bytes(4).buffer);
    return value < least || value > most ? this.fail() : value;
  }

  /** A copy of the next bytes; what fills up to a multiple of 4 is skipped. */
  bytes(count: number): Uint8Array<ArrayBuffer> {
    const end = this.at + count;
    if (end > this.file.length) this.fail("is cut off");
    const bytes = this.file.slice(this.at, end);
    this.at = end + (-end & 3);
    return bytes;
  }

  floats(count: number): Float32Array {
    return this.finite(new Float32Array(this.bytes(4 * count).buffer));
  }

  /** [rows, cols] of any of the three types, as float32. */
  tensor(rows: number, cols: number): Float32Array {
    const type = this.word(0, 2);
    const count = rows * cols;
    if (type === 0) return this.floats(count);
    if (type === 1) return this.finite(fromHalf(new Uint16Array(this.bytes(2 * count).buffer)));
    const scales = this.floats(rows);
    const weights = new Float32Array(new Int8Array(this.bytes(count).buffer));
    for (let row = 0, at = 0; row < rows; row++) {
      for (const end = at + cols; at < end; at++) weights[at] *= scales[row];
    }
    return this.finite(weights);
  }

  end(): void {
    if (this.at !== this.file.length) this.fail("goes on after its end");
  }

  private finite(values: Float32Array): Float32Array {
    let sum = 0;
    for (let at = 0; at < values.length; at++) sum += 0 * values[at]; // NaN of what is not finite
    return sum === 0 ? values : this.fail("has a value that is no finite number");
  }
}

/** IEEE 754 half to single precision; what is not finite becomes NaN. */
function fromHalf(halves: Uint16Array): Float32Array {
  const floats = new Float32Array(halves.length);
  const words = new Uint32Array(floats.buffer);
  for (let at = 0; at < halves.length; at++) {
    const half = halves[at];
    words[at] = ((half & 0x8000) << 16) | ((half & 0x7fff) << 13);
    floats[at] *= (half & 0x7c00) === 0x7c00 ? Number.NaN : 2 ** 112; // exponents begin elsewhere
  }
  return floats;
}
