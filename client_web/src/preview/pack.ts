/** Weights in the order in which the kernels read them. */

import type { Layer } from "./weights.js";

export interface Packed {
  /** [block of outputs][ky][kx][input][output of the block]; channels are filled up with zeros. */
  readonly weights: Float32Array<ArrayBuffer>;
  /** [block of outputs][output of the block] */
  readonly bias: Float32Array<ArrayBuffer>;
}

/** Channels, filled up to whole blocks. */
export function filled(channels: number, block: number): number {
  return Math.ceil(channels / block) * block;
}

/**
 * Pack a layer. The outputs of "up" stand by their place among the four pixels that a pixel
 * becomes: [dy, dx, channel]. Those of "out" are from 0 to 1 and have a fourth, which is opaque;
 * as many pixels side by side as fit in a block are one, with a window that is as much wider.
 */
export function pack({ kind, inputs, outputs, weights, bias }: Layer, block: number): Packed {
  const isOut = kind === "out";
  const side = kind === "up" ? 1 : 3; // of the window
  const apart = isOut ? 1 : 0; // pixels between the windows of two places
  const places = kind === "up" ? 4 : isOut ? block / 4 : 1;
  const channels = isOut ? 3 : outputs / places;
  const span = isOut ? 4 : filled(channels, block); // outputs of a place
  const width = filled(inputs, block);
  const run = (side + apart * (places - 1)) * width; // floats of a row of the window
  const packed = new Float32Array(places * span * side * run);
  const sums = new Float32Array(places * span).fill(isOut ? 1 : 0);
  for (let place = 0; place < places; place++) {
    for (let channel = 0; channel < channels; channel++) {
      const from = kind === "up" ? 4 * channel + place : channel;
      const to = place * span + channel;
      sums[to] = bias[from] + (isOut ? 0.5 : 0);
      let weight = from * inputs * side * side;
      for (let input = 0; input < inputs; input++) {
        for (let tap = 0; tap < side * side; tap++) {
          const x = (tap % side) + apart * place;
          const at = Math.floor(tap / side) * run + x * width + input;
          packed[(to - (to % block)) * side * run + at * block + (to % block)] = weights[weight++];
        }
      }
    }
  }
  return { weights: packed, bias: sums };
}
