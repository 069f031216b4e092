/** Pictures as they were at a row, and as files. */

import type { Paintable } from "../src/pixels/canvas.js";
import type { Painter } from "../src/pixels/painter.js";
import { type Picture, rowsFile, type SavedPicture } from "../src/wire/index.js";

export const JPEG_QUALITY = 0.9;
const GIF_DELAY = 90; // milliseconds a row
const GIF_LAST_DELAY = 1_600;
const UNDRAWN = "#dde2e1";

/** A picture painted on a canvas of its own, as it was when it had so many rows. */
export async function render(
  painter: Painter,
  picture: Paintable,
  rowsHeld = picture.rowsHeld,
): Promise<HTMLCanvasElement> {
  const { model, rows, cols, ids, reason } = picture;
  const hasEnded = rowsHeld === picture.rowsHeld;
  const canvas = document.createElement("canvas");
  const shown = painter.show(
    { model, rows, cols, ids, rowsHeld, ...(hasEnded && { reason }) },
    canvas,
  );
  await shown.settled;
  shown.close();
  return canvas;
}

export function saveRows(picture: Picture | SavedPicture, name: string): void {
  download(new Blob([rowsFile(picture)]), `${name}.rows`);
}

export async function savePng(painter: Painter, picture: Paintable, name: string): Promise<void> {
  const canvas = await render(painter, picture);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve));
  if (blob === null) throw new Error("this browser makes no PNG of a picture so large");
  download(blob, `${name}.png`);
}

/** The time-lapse, a frame a row. */
export async function saveGif(painter: Painter, picture: Paintable, name: string): Promise<void> {
  const { GIFEncoder, applyPalette, quantize } = await import("gifenc");
  const gif = GIFEncoder();
  for (let rows = 1; rows <= picture.rowsHeld; rows++) {
    const canvas = await render(painter, picture, rows);
    const { width, height } = canvas;
    const context = canvas.getContext("2d") as CanvasRenderingContext2D;
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = UNDRAWN;
    context.fillRect(0, 0, width, height);
    const { data } = context.getImageData(0, 0, width, height);
    const palette = quantize(data, 256);
    const delay = rows === picture.rowsHeld ? GIF_LAST_DELAY : GIF_DELAY;
    gif.writeFrame(applyPalette(data, palette), width, height, { palette, delay });
  }
  gif.finish();
  download(new Blob([gif.bytes()], { type: "image/gif" }), `${name}.gif`);
}

/** What a canvas weighs as a JPEG file. */
export function jpegBytes(canvas: HTMLCanvasElement): Promise<number> {
  return new Promise((resolve) => {
    canvas.toBlob((blob) => resolve(blob?.size ?? 0), "image/jpeg", JPEG_QUALITY);
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
