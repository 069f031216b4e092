/** Pictures as one: their ids side by side in one grid, so that a decoder joins them seamlessly. */

import type { Paintable } from "../src/pixels/canvas.js";
import type { Painter, Shown } from "../src/pixels/painter.js";
import { element } from "./elements.js";

export class Mosaic {
  readonly canvas: HTMLCanvasElement;
  readonly picture: Paintable;
  private readonly shown: Shown;

  constructor(painter: Painter, pictures: Paintable[], label: string) {
    this.picture = joined(pictures);
    this.canvas = element("canvas", { role: "img", "aria-label": label, class: "mosaic" });
    this.shown = painter.show(this.picture, this.canvas);
  }

  close(): void {
    this.shown.close();
  }
}

/** Whole pictures of one shape as one grid, as square as their number allows: 6 as 2 rows of 3. */
export function joined(pictures: Paintable[]): Paintable {
  const [{ rows, cols, model }] = pictures;
  let down = Math.floor(Math.sqrt(pictures.length));
  while (pictures.length % down !== 0) down--;
  const across = pictures.length / down;
  const ids = new Uint32Array(rows * cols * pictures.length);
  for (const [number, picture] of pictures.entries()) {
    const [top, left] = [Math.floor(number / across) * rows, (number % across) * cols];
    for (let row = 0; row < rows; row++) {
      const held = picture.ids.subarray(row * cols, (row + 1) * cols);
      ids.set(held, (top + row) * cols * across + left);
    }
  }
  const all = { rows: rows * down, cols: cols * across };
  return { model, ids, ...all, rowsHeld: all.rows, reason: "complete" };
}
