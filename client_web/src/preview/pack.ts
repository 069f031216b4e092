/** Weights in the order in which the kernels read them. */

import type { Layer } from "./weights.js";

export interface Packed {
  /** [block of outputs][ky][kx][input][output of the block], inputs and outputs filled up. */
  readonly weights: Float32Array;
  /** [block of outputs][output of the block] */
  readonly bias: Float32Array;
}

/** Channels, filled up to whole blocks. */
export function filled(channels: number, block: number): number {
  return Math.ceil(channels / block) * block;
}

/**
 * Pack a layer: its channels are filled up with zeros to whole blocks. The outputs of "up" are
 * taken by their place among the four pixels that a pixel becomes: [dy, dx, channel].
 *
 * For "out" the bias is that of pixels from 0 to 1, and a fourth channel is opaque. With `pair`
 * its block has two pixels side by side, whose windows are four pixels wide.
 */
export function pack(layer: Layer, block: number, pair = false): Packed {
  const { kind, inputs, weights, bias } = layer;
  const isUp = kind === "up";
  const [rows, cols] = isUp ? [1, 1] : [3, 3];
  const places = isUp ? 4 : pair ? 2 : 1;
  const channels = isUp ? layer.outputs / 4 : layer.outputs;
  const span = kind === "out" ? 4 : filled(channels, block); // outputs from a place to the next
  const width = filled(inputs, block);
  const run = (cols + (pair ? 1 : 0)) * width;
  const packed = new Float32Array(places * span * rows * run);
  const sums = new Float32Array(places * span);
  for (let place = 0; place < places; place++) {
    for (let channel = 0; channel < channels; channel++) {
      const to = place * span + channel;
      const from = isUp ? 4 * channel + place : channel;
      const first = Math.floor(to / block) * block * rows * run + (to % block);
      sums[to] = bias[from] + (kind === "out" ? 0.5 : 0);
      for (let y = 0; y < rows; y++) {
        for (let x = 0; x < cols; x++) {
          let at = first + block * (y * run + (x + (pair ? place : 0)) * width);
          let weight = from * inputs * rows * cols + y * cols + x;
          for (let input = 0; input < inputs; input++, at += block, weight += rows * cols) {
            packed[at] = weights[weight];
          }
        }
      }
    }
    if (kind === "out") sums[place * span + 3] = 1;
  }
  return { weights: packed, bias: sums };
}
