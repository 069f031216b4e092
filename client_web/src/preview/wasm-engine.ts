/**
 * The preview decoder in WebAssembly, on one thread. What it computed for a picture is kept, so
 * that an update computes only what the new rows change.
 */

import { Arena } from "./arena.js";
import type { Engine, Grid, Painted } from "./engine.js";
import { KERNELS } from "./kernels_wasm.js";
import { filled, pack } from "./pack.js";
import type { Layer, PreviewWeights } from "./weights.js";

interface Kernels {
  readonly memory: WebAssembly.Memory;
  convolve(...args: number[]): void;
  quantise(from: number, to: number, count: number): void;
  rectify(from: number, to: number, count: number): void;
  difference(one: number, other: number, count: number): number;
}

/** With its weights in the memory. */
interface PlacedLayer extends Layer {
  readonly weightsAt: number;
  readonly biasAt: number;
}

/** Activations of a level, with a border of zeros: [height + 2, width + 2, channels]. */
interface Plane {
  /** Address of the row of zeros above. */
  begin: number;
  readonly row: number; // bytes
  readonly pixel: number; // bytes
}

/** What was computed for a picture. */
interface Kept extends Omit<Grid, "ids"> {
  /** Of the rows computed. */
  ids: Uint32Array;
  /** The input of each layer. */
  readonly planes: readonly Plane[];
}

const BLOCK = 8; // output channels of a tile of kernels.c
const FLOAT = 4; // bytes
const LEAST = -3e38; // of all activations
const MOST_BYTES = 128 * 2 ** 20; // of the memory, unless a single picture needs more
/**
 * By how much a row of activations may differ from what it was before new rows came, and count as
 * unchanged. Found with client_web/bench/preview.mjs.
 */
const UNCHANGED = 0.01;

export class WasmEngine implements Engine {
  private readonly kept = new Map<number, Kept>(); // the least recently used first
  private readonly scratch = { begin: 0, rowBytes: 0, planeBytes: 0 }; // two rows and a plane

  private constructor(
    readonly backend: string,
    private readonly weights: PreviewWeights,
    private readonly kernels: Kernels,
    private readonly arena: Arena,
    private readonly layers: readonly PlacedLayer[],
    private readonly unchanged: number,
  ) {}

  /** Rejects with an Error where WebAssembly, or its SIMD, is not to be had. */
  static async open(weights: PreviewWeights, unchanged = UNCHANGED): Promise<WasmEngine> {
    for (const [name, base64] of Object.entries(KERNELS)) {
      const code = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      if (!WebAssembly.validate(code)) continue;
      const { instance } = await WebAssembly.instantiate(code);
      const kernels = instance.exports as unknown as Kernels;
      const arena = new Arena(kernels.memory);
      const put = (values: Float32Array) => {
        const at = arena.take(values.byteLength);
        if (at === undefined) throw new Error("there is no memory for the preview's weights");
        new Float32Array(kernels.memory.buffer, at).set(values);
        return at;
      };
      const layers = weights.layers.map((layer) => {
        const packed = pack(layer, BLOCK, layer.kind === "out");
        return { ...layer, weightsAt: put(packed.weights), biasAt: put(packed.bias) };
      });
      return new WasmEngine(`wasm ${name}`, weights, kernels, arena, layers, unchanged);
    }
    throw new Error("WebAssembly has no SIMD here, which the preview is computed with");
  }

  paint(picture: number, { ids, cols, rows }: Grid, exact: boolean): Painted {
    let kept = this.kept.get(picture);
    if (
      exact ||
      kept?.cols !== cols ||
      kept.rows !== rows ||
      kept.ids.length > ids.length // the rows below would have to be zeros again
    ) {
      this.forget(picture);
      kept = this.keep(cols, rows);
    }
    this.kept.delete(picture);
    this.kept.set(picture, kept);
    const { ids: before } = kept;
    const same = ids.findIndex((id, at) => id !== before[at]);
    const first = Math.floor((same < 0 ? ids.length : same) / cols);
    kept.ids = ids;
    this.lookUp(kept, first);
    let changed = first;
    for (const layer of this.layers.keys()) changed = this.compute(kept, layer, first, changed);
    const painted = this.toBytes(kept, changed);
    if (exact) this.forget(picture); // it is finished
    return painted;
  }

  forget(picture: number): void {
    const kept = this.kept.get(picture);
    if (kept) this.arena.giveBack(kept.planes[0].begin);
    this.kept.delete(picture);
  }

  /** A place for a picture's activations; others lose theirs where there is no more. */
  private keep(cols: number, rows: number): Kept {
    const { scratch } = this;
    let bytes = 0;
    let [most, mostOfRow] = [scratch.planeBytes, scratch.rowBytes];
    const planes = this.layers.map(({ level, inputs }) => {
      const pixel = FLOAT * filled(inputs, BLOCK);
      const row = ((cols << level) + 2) * pixel;
      const plane = { begin: bytes, row, pixel };
      const size = ((rows << level) + 2) * row;
      bytes += size;
      most = Math.max(most, size);
      mostOfRow = Math.max(mostOfRow, row);
      return plane;
    });
    if (most > scratch.planeBytes || mostOfRow > scratch.rowBytes) {
      if (scratch.begin > 0) this.arena.giveBack(scratch.begin);
      Object.assign(scratch, { begin: 0, planeBytes: 0, rowBytes: 0 });
      scratch.begin = this.take(2 * mostOfRow + most);
      Object.assign(scratch, { planeBytes: most, rowBytes: mostOfRow });
    }
    const begin = this.take(bytes);
    for (const plane of planes) plane.begin += begin;
    return { cols, rows, ids: new Uint32Array(), planes };
  }

  private take(bytes: number): number {
    for (;;) {
      const [oldest] = this.kept.keys();
      const begin = this.arena.take(bytes, oldest === undefined ? undefined : MOST_BYTES);
      if (begin !== undefined) return begin;
      if (oldest === undefined) throw new Error("there is no memory for a picture of this size");
      this.forget(oldest);
    }
  }

  /** Put the table's entries where the first layer reads, from a row of ids on. */
  private lookUp({ ids, cols, planes: [plane] }: Kept, first: number): void {
    const { table, tableChannels } = this.weights;
    const memory = new Float32Array(this.kernels.memory.buffer);
    for (let at = first * cols; at < ids.length; at++) {
      const from = ids[at] * tableChannels;
      const place = address(plane, Math.floor(at / cols), at % cols) / FLOAT;
      memory.set(table.subarray(from, from + tableChannels), place);
    }
  }

  /**
   * Compute a layer's output: what comes of the rows of ids from `first` on, and above it as far
   * as it changes. The input has changed from row `changed` on; returns the same of the output.
   */
  private compute(kept: Kept, index: number, first: number, changed: number): number {
    const { kind, level, isResidual, rectifiesOutput, weightsAt, biasAt } = this.layers[index];
    if (kind === "out") return changed;
    const { cols, ids, planes } = kept;
    const [from, to] = planes.slice(index);
    const [width, begin, end] = [cols << level, first << level, (ids.length / cols) << level];
    if (kind === "up") {
      this.shuffle(kept, index, changed, end);
      return 2 * changed;
    }
    const { kernels, scratch } = this;
    const run = (y: number, rows: number, output: number) =>
      kernels.convolve(
        ...[address(input, y - 1, -1), from.row, from.pixel, 3, (3 * from.pixel) / FLOAT],
        ...[weightsAt, biasAt, to.pixel / BLOCK / FLOAT, output, to.row, to.pixel],
        ...[isResidual ? address(planes[index - 1], y, 0) : 0, rectifiesOutput ? 0 : LEAST],
        ...[width, rows],
      );
    const input = this.rectified(kept, index, begin, end);
    run(begin, end - begin, address(to, begin, 0));
    const bytes = width * to.pixel;
    let top = begin; // of what has changed
    while (top > 0 && top >= changed) {
      const y = top - 1;
      this.rectified(kept, index, y, y - 1); // one row more
      run(y, 1, scratch.begin);
      const before = address(to, y, 0);
      if (kernels.difference(scratch.begin, before, bytes / FLOAT) < this.unchanged) break;
      new Uint8Array(kernels.memory.buffer).copyWithin(
        before,
        scratch.begin,
        scratch.begin + bytes,
      );
      top = y;
    }
    return top;
  }

  /** Rows of a layer that doubles the resolution; each place of four pixels has its weights. */
  private shuffle(kept: Kept, index: number, y: number, end: number): void {
    const { level, weightsAt, biasAt } = this.layers[index];
    const [from, to] = kept.planes.slice(index);
    const channels = to.pixel / FLOAT;
    const run = from.pixel / FLOAT;
    for (let place = 0; place < 4; place++) {
      this.kernels.convolve(
        ...[address(from, y, 0), from.row, from.pixel, 1, run],
        ...[weightsAt + place * channels * run * FLOAT, biasAt + place * channels * FLOAT],
        ...[channels / BLOCK, address(to, 2 * y + (place >> 1), place & 1)],
        ...[2 * to.row, 2 * to.pixel, 0, LEAST, kept.cols << level, end - y],
      );
    }
  }

  /** The pixels, where the last layer's input has changed from a row on. */
  private toBytes(kept: Kept, changed: number): Painted {
    const { kernels, scratch, layers } = this;
    const index = layers.length - 1;
    const { level, weightsAt, biasAt } = layers[index];
    const { cols, ids } = kept;
    const [width, height] = [cols << level, (ids.length / cols) << level];
    const firstRow = changed < height ? Math.max(0, changed - 1) : height;
    const from = this.rectified(kept, index, firstRow, height);
    const rgba = new Uint8ClampedArray(4 * width * (height - firstRow));
    const bytesAt = scratch.begin + scratch.rowBytes;
    for (let y = firstRow; y < height; y++) {
      kernels.convolve(
        ...[address(from, y - 1, -1), from.row, 2 * from.pixel, 3, from.pixel], // 4 pixels
        ...[weightsAt, biasAt, 1, scratch.begin, 0, BLOCK * FLOAT, 0, LEAST, (width + 1) >> 1, 1],
      );
      kernels.quantise(scratch.begin, bytesAt, width);
      const bytes = new Uint8Array(kernels.memory.buffer, bytesAt, 4 * width);
      rgba.set(bytes, 4 * width * (y - firstRow));
    }
    return { firstRow, rgba, width, height };
  }

  /** Where a layer reads its input, made ready for the output rows from `y` to `end`. */
  private rectified({ planes }: Kept, index: number, y: number, end: number): Plane {
    const plane = planes[index];
    if (!this.layers[index].rectifiesInput) return plane;
    const { begin, rowBytes } = this.scratch;
    const to = { ...plane, begin: begin + 2 * rowBytes };
    const floats = ((end + 2 - y) * plane.row) / FLOAT;
    this.kernels.rectify(address(plane, y - 1, -1), address(to, y - 1, -1), floats);
    return to;
  }
}

/** Of a pixel; the border's are at -1, and at the height or the width. */
function address({ begin, row, pixel }: Plane, y: number, x: number): number {
  return begin + (y + 1) * row + (x + 1) * pixel;
}
