/** The preview decoder, written as plainly as preview.py: in double precision, loop by loop. */

import type { Layer, PreviewWeights } from "../../src/preview/weights.js";

/** [height][width][channel] */
type Image = number[][][];

/** Pixels, from 0 to 1, of whole rows of ids. */
export function referencePixels(
  { table, tableChannels, layers }: PreviewWeights,
  ids: ArrayLike<number>,
  cols: number,
): Image {
  let hidden: Image = Array.from({ length: ids.length / cols }, (_, row) =>
    Array.from({ length: cols }, (_, col) => {
      const first = ids[row * cols + col] * tableChannels;
      return [...table.subarray(first, first + tableChannels)];
    }),
  );
  let before = hidden;
  for (const layer of layers) {
    const { kind } = layer;
    const input = kind === "first" || kind === "out" ? map(hidden, relu) : hidden;
    let output = convolve(input, layer);
    if (kind === "second") output = map(output, (value, y, x, c) => value + before[y][x][c]);
    if (kind === "first") output = map(output, relu);
    if (kind === "up") output = pixelShuffle(output);
    before = hidden;
    hidden = output;
  }
  return map(hidden, (value) => Math.min(1, Math.max(0, value + 0.5)));
}

export function toRgba(pixels: Image): Uint8ClampedArray {
  return Uint8ClampedArray.from(
    pixels.flat().flatMap((pixel) => [...pixel.map((value) => Math.floor(255 * value)), 255]),
  );
}

const relu = (value: number) => Math.max(0, value);

function map(image: Image, of: (value: number, y: number, x: number, c: number) => number): Image {
  return image.map((row, y) => row.map((pixel, x) => pixel.map((value, c) => of(value, y, x, c))));
}

function convolve(image: Image, { kind, inputs, outputs, weights, bias }: Layer): Image {
  const reach = kind === "up" ? 0 : 1;
  const side = 2 * reach + 1;
  return image.map((row, y) =>
    row.map((_, x) =>
      Array.from({ length: outputs }, (_, output) => {
        let sum = bias[output];
        for (let dy = -reach; dy <= reach; dy++) {
          for (let dx = -reach; dx <= reach; dx++) {
            const pixel = image[y + dy]?.[x + dx];
            if (pixel === undefined) continue;
            const place = (dy + reach) * side + dx + reach;
            for (let input = 0; input < inputs; input++) {
              sum += pixel[input] * weights[(output * inputs + input) * side * side + place];
            }
          }
        }
        return sum;
      }),
    ),
  );
}

function pixelShuffle(image: Image): Image {
  const channels = image[0][0].length / 4;
  return Array.from({ length: 2 * image.length }, (_, y) =>
    Array.from({ length: 2 * image[0].length }, (_, x) =>
      Array.from(
        { length: channels },
        (_, c) => image[y >> 1][x >> 1][4 * c + 2 * (y & 1) + (x & 1)],
      ),
    ),
  );
}
