/** Pictures as files. */

import type { Paintable } from "../src/pixels/canvas.js";
import type { Painter } from "../src/pixels/painter.js";
import { type Picture, rowsFile, type SavedPicture } from "../src/wire/index.js";

const GIF_DELAY = 90; // milliseconds a row
const GIF_LAST_DELAY = 1_600;

/** A picture as it was when it had so many rows. */
export function upTo(picture: Paintable, rowsHeld: number): Paintable {
  const { model, rows, cols, ids, reason } = picture;
  const isAll = rowsHeld === picture.rowsHeld;
  return { model, rows, cols, ids, rowsHeld, ...(isAll && { reason }) };
}

export function saveRows(picture: Picture | SavedPicture, name: string): void {
  download(new Blob([rowsFile(picture)]), `${name}.rows`);
}

export async function savePng(canvas: HTMLCanvasElement, name: string): Promise<void> {
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve));
  if (blob) download(blob, `${name}.png`);
}

/** The time-lapse, a frame a row. */
export async function saveGif(painter: Painter, picture: Paintable, name: string): Promise<void> {
  const { GIFEncoder, applyPalette, quantize } = await import("gifenc");
  const gif = GIFEncoder();
  for (let rows = 1; rows <= picture.rowsHeld; rows++) {
    const canvas = document.createElement("canvas");
    const shown = painter.show(upTo(picture, rows), canvas);
    await shown.settled;
    shown.close();
    const { width, height } = canvas;
    const context = canvas.getContext("2d");
    if (context === null) return;
    context.globalCompositeOperation = "destination-over"; // what is not drawn yet
    context.fillStyle = "#e7e2d8";
    context.fillRect(0, 0, width, height);
    const { data } = context.getImageData(0, 0, width, height);
    const palette = quantize(data, 256);
    const delay = rows === picture.rowsHeld ? GIF_LAST_DELAY : GIF_DELAY;
    gif.writeFrame(applyPalette(data, palette), width, height, { palette, delay });
  }
  gif.finish();
  download(new Blob([gif.bytes()], { type: "image/gif" }), `${name}.gif`);
}

/** What the canvas weighs as a JPEG of usual quality. */
export function jpegBytes(canvas: HTMLCanvasElement): Promise<number> {
  return new Promise((resolve) => {
    canvas.toBlob((blob) => resolve(blob?.size ?? 0), "image/jpeg", 0.9);
  });
}

function download(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
