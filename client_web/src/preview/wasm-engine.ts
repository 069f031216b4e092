/**
 * The preview decoder in WebAssembly, on one thread. What it computed for a picture is kept, so
 * that an update computes only what the new rows change.
 */

import type { Engine, Grid, Painted } from "./engine.js";
import { KERNELS } from "./kernels_wasm.js";
import { filled, pack } from "./pack.js";
import type { Layer, PreviewWeights } from "./weights.js";

interface Kernels {
  readonly memory: WebAssembly.Memory;
  convolve(...args: number[]): void;
  quantise(from: number, to: number, count: number): void;
  rectify(from: number, to: number, count: number): void;
  differ(one: number, other: number, count: number, least: number): number;
}

/** With its weights in the memory. */
interface PlacedLayer extends Layer {
  readonly weightsAt: number;
  readonly biasAt: number;
}

/** Activations of a level, with a border of zeros: [height + 2, width + 2, channels]. */
interface Plane {
  /** Address of the row of zeros above. */
  readonly begin: number;
  readonly row: number; // bytes
  readonly pixel: number; // bytes
}

/** What was computed for a picture. */
interface Kept {
  ids: Uint32Array;
  readonly cols: number;
  readonly rows: number;
  /** The place in the memory, by number. */
  readonly slot: number;
  /** The input of each layer. */
  readonly planes: readonly Plane[];
}

const PAGE = 65_536; // bytes
const BLOCK = 8; // output channels of a tile of kernels.c
const FLOAT = 4; // bytes
const LEAST = -3e38; // of all activations
const MOST_BYTES = 128 * 2 ** 20; // of what is kept, unless a single picture needs more
/**
 * By how much a row of activations may differ from what it was before new rows came, and count as
 * unchanged. Found with client_web/bench/preview.mjs.
 */
const UNCHANGED = 0.0075;

export class WasmEngine implements Engine {
  private readonly kept = new Map<number, Kept>(); // the least recently used first
  /** Bytes of what is used in between, a plane behind two rows; then come the slots. */
  private scratch = { row: 0, plane: 0 };
  private slotBytes = 0;

  private constructor(
    readonly backend: string,
    private readonly weights: PreviewWeights,
    private readonly kernels: Kernels,
    private readonly layers: readonly PlacedLayer[],
    /** Where the memory is free from. */
    private readonly free: number,
    private readonly unchanged: number,
  ) {}

  /** Rejects with an Error where WebAssembly, or its SIMD, is not to be had. */
  static async open(weights: PreviewWeights, unchanged = UNCHANGED): Promise<WasmEngine> {
    for (const [name, base64] of Object.entries(KERNELS)) {
      const code = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      if (!WebAssembly.validate(code)) continue;
      const { instance } = await WebAssembly.instantiate(code);
      const kernels = instance.exports as unknown as Kernels;
      const { memory } = kernels;
      let free = memory.buffer.byteLength;
      const put = (values: Float32Array) => {
        const at = free;
        free += values.byteLength;
        grow(memory, free);
        new Float32Array(memory.buffer, at).set(values);
        return at;
      };
      const layers = weights.layers.map((layer) => {
        const packed = pack(layer, BLOCK);
        return { ...layer, weightsAt: put(packed.weights), biasAt: put(packed.bias) };
      });
      return new WasmEngine(`wasm ${name}`, weights, kernels, layers, free, unchanged);
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
    this.kept.delete(picture);
  }

  /** A place for a picture's activations; another one loses its own where there is no more. */
  private keep(cols: number, rows: number): Kept {
    const { layers, kept, kernels, free } = this;
    let { row: mostOfRow, plane: most } = this.scratch;
    let bytes = 0;
    const sizes = layers.map(({ level, inputs }) => {
      const pixel = FLOAT * filled(inputs, BLOCK);
      const row = ((cols << level) + 2) * pixel;
      const begin = bytes;
      const size = ((rows << level) + 2) * row;
      bytes += size;
      mostOfRow = Math.max(mostOfRow, row);
      most = Math.max(most, size);
      return { begin, row, pixel };
    });
    if (bytes > this.slotBytes || mostOfRow > this.scratch.row || most > this.scratch.plane) {
      kept.clear();
      this.slotBytes = Math.max(bytes, this.slotBytes);
      this.scratch = { row: mostOfRow, plane: most };
    }
    if ((kept.size + 1) * this.slotBytes > MOST_BYTES) {
      for (const oldest of [...kept.keys()].slice(0, 1)) this.forget(oldest);
    }
    const taken = new Set([...kept.values()].map(({ slot }) => slot));
    let slot = 0;
    while (taken.has(slot)) slot++;
    const begin = free + 2 * mostOfRow + most + slot * this.slotBytes;
    grow(kernels.memory, begin + bytes);
    new Uint8Array(kernels.memory.buffer, begin, bytes).fill(0);
    const planes = sizes.map((plane) => ({ ...plane, begin: begin + plane.begin }));
    return { cols, rows, slot, planes, ids: new Uint32Array() };
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
    const { kind, level, weightsAt, biasAt } = this.layers[index];
    const { cols, ids, planes } = kept;
    const [from, to] = planes.slice(index);
    const [width, begin, end] = [cols << level, first << level, (ids.length / cols) << level];
    const { kernels, free } = this;
    if (kind === "out") return changed;
    if (kind === "up") {
      const [run, channels] = [from.pixel / FLOAT, to.pixel / FLOAT];
      for (let place = 0; place < 4; place++) {
        kernels.convolve(
          ...[address(from, changed, 0), from.row, from.pixel, 1, run],
          ...[weightsAt + place * channels * run * FLOAT, biasAt + place * channels * FLOAT],
          ...[channels / BLOCK, address(to, 2 * changed + (place >> 1), place & 1)],
          ...[2 * to.row, 2 * to.pixel, 0, LEAST, width, end - changed],
        );
      }
      return 2 * changed;
    }
    const input = this.rectified(kept, index, begin, end);
    const run = (y: number, rows: number, output: number) =>
      kernels.convolve(
        ...[address(input, y - 1, -1), from.row, from.pixel, 3, (3 * from.pixel) / FLOAT],
        ...[weightsAt, biasAt, to.pixel / BLOCK / FLOAT, output, to.row, to.pixel],
        ...[kind === "second" ? address(planes[index - 1], y, 0) : 0, kind === "first" ? 0 : LEAST],
        ...[width, rows],
      );
    run(begin, end - begin, address(to, begin, 0));
    const bytes = width * to.pixel;
    let top = begin; // of what has changed
    while (top > 0 && top >= changed) {
      const y = top - 1;
      this.rectified(kept, index, y, y - 1); // one row more
      run(y, 1, free);
      const before = address(to, y, 0);
      if (!kernels.differ(free, before, bytes / FLOAT, this.unchanged)) break;
      new Uint8Array(kernels.memory.buffer).copyWithin(before, free, free + bytes);
      top = y;
    }
    return top;
  }

  /** The pixels, where the last layer's input has changed from a row on. */
  private toBytes(kept: Kept, changed: number): Painted {
    const { kernels, free, layers, scratch } = this;
    const index = layers.length - 1;
    const { level, weightsAt, biasAt } = layers[index];
    const { cols, ids } = kept;
    const [width, height] = [cols << level, (ids.length / cols) << level];
    const firstRow = changed < height ? Math.max(0, changed - 1) : height;
    const from = this.rectified(kept, index, firstRow, height);
    const rgba = new Uint8ClampedArray(4 * width * (height - firstRow));
    const bytesAt = free + scratch.row;
    for (let y = firstRow; y < height; y++) {
      kernels.convolve(
        ...[address(from, y - 1, -1), from.row, 2 * from.pixel, 3, from.pixel], // pairs of pixels
        ...[weightsAt, biasAt, 1, free, 0, BLOCK * FLOAT, 0, LEAST, (width + 1) >> 1, 1],
      );
      kernels.quantise(free, bytesAt, width);
      const bytes = new Uint8Array(kernels.memory.buffer, bytesAt, 4 * width);
      rgba.set(bytes, 4 * width * (y - firstRow));
    }
    return { firstRow, rgba, width, height };
  }

  /** Where a layer reads its input, made ready for the output rows from `y` to `end`. */
  private rectified({ planes }: Kept, index: number, y: number, end: number): Plane {
    const plane = planes[index];
    const { kind } = this.layers[index];
    if (kind !== "first" && kind !== "out") return plane;
    const to = { ...plane, begin: this.free + 2 * this.scratch.row };
    const floats = ((end + 2 - y) * plane.row) / FLOAT;
    this.kernels.rectify(address(plane, y - 1, -1), address(to, y - 1, -1), floats);
    return to;
  }
}

/** Of a pixel; the border's are at -1, and at the height or the width. */
function address({ begin, row, pixel }: Plane, y: number, x: number): number {
  return begin + (y + 1) * row + (x + 1) * pixel;
}

/** Have a memory reach to `end`, and a page beyond, as a tile reads past what is its own. */
function grow(memory: WebAssembly.Memory, end: number): void {
  const pages = Math.ceil((end + PAGE - memory.buffer.byteLength) / PAGE);
  if (pages > 0) memory.grow(pages);
}
