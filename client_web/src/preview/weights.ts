/**
 * The file of kind `preview_weights`: a small convolutional decoder, flat.
 *
 * Source: protocol.md, section 10; the architecture is vqgan_export/rowcast_export/preview.py.
 */

import type { SelfTest } from "../pixels/self-test.js";

/**
 * One convolution. Each layer's input is the output of the one before; that of the first is the
 * table.
 */
export interface Layer {
  /** "up": a 1x1 convolution and a pixel shuffle; else 3x3, and "out" ends in pixels around 0. */
  readonly kind: "conv" | "up" | "out";
  /** Its input has cols * 2^level pixels across. */
  readonly level: number;
  readonly inputs: number;
  readonly outputs: number;
  /** Negative values become 0 before it, and after it. */
  readonly rectifiesInput: boolean;
  readonly rectifiesOutput: boolean;
  /** The input of the layer before is added to its output. */
  readonly isResidual: boolean;
  /** [outputs, inputs, ky, kx] */
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
const MOST_CHANNELS = 1024;
const MOST_BLOCKS = 64;
const MOST_TOKENS = 64; // across or down, of the self-test

/** Read a file. Throws RangeError, saying why, for one that is none. */
export function readPreviewWeights(file: Uint8Array): PreviewWeights {
  const reader = new Reader(file);
  if (reader.word() !== 0x56455250 || reader.word() !== 1) {
    throw new RangeError("the preview's weights do not begin as a file of version 1 does");
  }
  const codebookSize = reader.word(1, 2 ** 31 - 1);
  const pixelsPerToken = reader.word(1, 2 ** (MOST_LEVELS - 1));
  const tableChannels = reader.word(1, MOST_CHANNELS);
  const levels = reader.word(1, MOST_LEVELS);
  if (2 ** (levels - 1) !== pixelsPerToken) {
    throw new RangeError(`the preview has ${levels} levels for ${pixelsPerToken} pixels a token`);
  }
  const sizes = Array.from({ length: levels }, () => ({
    width: reader.word(1, MOST_CHANNELS),
    blocks: reader.word(0, MOST_BLOCKS),
  }));
  const selfTest = readSelfTest(reader, codebookSize, pixelsPerToken);
  const table = reader.tensor(codebookSize, tableChannels);
  const layers: Layer[] = [];
  const add = (layer: Partial<Layer> & Pick<Layer, "kind" | "level" | "inputs" | "outputs">) => {
    const window = layer.kind === "up" ? 1 : 9;
    layers.push({
      rectifiesInput: false,
      rectifiesOutput: false,
      isResidual: false,
      ...layer,
      weights: reader.tensor(layer.outputs, layer.inputs * window),
      bias: reader.floats(layer.outputs),
    });
  };
  add({ kind: "conv", level: 0, inputs: tableChannels, outputs: sizes[0].width });
  for (const [level, { width, blocks }] of sizes.entries()) {
    const same = { kind: "conv", level, inputs: width, outputs: width } as const;
    for (let block = 0; block < blocks; block++) {
      add({ ...same, rectifiesInput: true, rectifiesOutput: true });
      add({ ...same, isResidual: true });
    }
    const next = sizes[level + 1]?.width;
    if (next) add({ kind: "up", level, inputs: width, outputs: 4 * next });
    else add({ kind: "out", level, inputs: width, outputs: 3, rectifiesInput: true });
  }
  reader.end();
  return { codebookSize, pixelsPerToken, tableChannels, table, layers, selfTest };
}

function readSelfTest(reader: Reader, codebookSize: number, pixelsPerToken: number): SelfTest {
  const rows = reader.word(1, MOST_TOKENS);
  const cols = reader.word(1, MOST_TOKENS);
  const side = reader.word(1, rows * pixelsPerToken);
  const tolerance = reader.word(0, 255);
  if ((rows * pixelsPerToken) % side !== 0 || (cols * pixelsPerToken) % side !== 0) {
    throw new RangeError("the thumbnail in the preview's weights does not divide the picture");
  }
  const ids = Array.from({ length: rows * cols }, () => reader.word(0, codebookSize - 1));
  const thumbnail = [...reader.bytes(3 * side * side)];
  return { rows, cols, ids, thumbnail, thumbnail_side: side, tolerance };
}

/** Takes part after part; whatever it allocates, the file has bytes for. */
class Reader {
  private readonly file: Uint8Array<ArrayBuffer>;
  private at = 0;

  constructor(file: Uint8Array) {
    this.file = new Uint8Array(file); // so that words are aligned
  }

  word(least = 0, most = 2 ** 32 - 1): number {
    const [value] = new Uint32Array(this.bytes(4).buffer);
    if (value < least || value > most) {
      throw new RangeError(
        `the preview's weights have ${value} at byte ${this.at - 4}, not ${least} to ${most}`,
      );
    }
    return value;
  }

  /** A copy of the next bytes; what fills up to a multiple of 4 is skipped. */
  bytes(count: number): Uint8Array<ArrayBuffer> {
    const end = this.at + count;
    if (end > this.file.length) throw new RangeError("the preview's weights are cut off");
    const bytes = this.file.slice(this.at, end);
    this.at = end + (-end & 3);
    return bytes;
  }

  floats(count: number): Float32Array {
    return finite(new Float32Array(this.bytes(4 * count).buffer));
  }

  /** [rows, cols] of any of the three kinds, as float32. */
  tensor(rows: number, cols: number): Float32Array {
    const kind = this.word(0, 2);
    const count = rows * cols;
    if (kind === 0) return this.floats(count);
    if (kind === 1) return finite(fromHalf(new Uint16Array(this.bytes(2 * count).buffer)));
    const scales = this.floats(rows);
    const weights = Float32Array.from(new Int8Array(this.bytes(count).buffer));
    for (let row = 0, at = 0; row < rows; row++) {
      for (const end = at + cols; at < end; at++) weights[at] *= scales[row];
    }
    return finite(weights);
  }

  end(): void {
    if (this.at !== this.file.length) {
      throw new RangeError("the preview's weights go on after their end");
    }
  }
}

/** IEEE 754 half to single precision; what is not finite becomes NaN or infinite. */
function fromHalf(halves: Uint16Array): Float32Array {
  const floats = new Float32Array(halves.length);
  const words = new Uint32Array(floats.buffer);
  for (let at = 0; at < halves.length; at++) {
    const half = halves[at];
    words[at] = ((half & 0x8000) << 16) | ((half & 0x7fff) << 13);
    floats[at] *= 2 ** 112; // the exponents are told from other origins
    if ((half & 0x7c00) === 0x7c00) floats[at] = Number.NaN;
  }
  return floats;
}

function finite(values: Float32Array): Float32Array {
  if (!values.every(Number.isFinite)) {
    throw new RangeError("the preview's weights have a value that is no number");
  }
  return values;
}
