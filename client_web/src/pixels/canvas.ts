/**
 * One picture on one canvas: rows by the best that has painted them, a frontier, and below it a
 * soft placeholder grown from the colours of the last row. It decodes nothing itself but by the
 * palette.
 */

import type { Model } from "../wire/index.js";
import type { Painted } from "./onnx-decoder.js";
import type { Palette } from "./palette.js";

/** What can be shown: a Picture of the wire, or the rows of a file. */
export interface Paintable {
  readonly model: Pick<Model, "name" | "codebookSize" | "pixelsPerToken" | "files">;
  readonly rows: number;
  readonly cols: number;
  /** [rows, cols]; those of rows from `rowsHeld` on are not looked at. */
  readonly ids: Uint32Array;
  readonly rowsHeld: number;
  /** Set once no more rows come. */
  readonly reason?: unknown;
}

/** From the least to the most. */
export const TIERS = ["none", "palette", "preview", "full"] as const;
export type TierName = (typeof TIERS)[number];

const LINE = "rgb(255 255 255 / 0.7)"; // the frontier
const FADING = ["rgb(0 0 0 / 0.75)", "rgb(0 0 0 / 0.1)"]; // of the placeholder, at its top and end

export class PictureCanvas {
  /** Rows that each tier has painted; a better one's stand over a lesser one's. */
  private readonly painted: Record<TierName, number> = { none: 0, palette: 0, preview: 0, full: 0 };
  private kept: ImageData | undefined;
  private readonly width: number;
  private readonly height: number;
  private readonly context: CanvasRenderingContext2D;
  private readonly side: number; // pixels of a token
  private readonly colours = document.createElement("canvas"); // of the last row: a pixel a token
  /** True once what the preview painted was computed anew as a whole, after the last row. */
  private isExact = false;

  constructor(
    readonly picture: Paintable,
    canvas: HTMLCanvasElement,
  ) {
    const { rows, cols, model } = picture;
    this.side = model.pixelsPerToken;
    this.width = canvas.width = cols * this.side;
    this.height = canvas.height = rows * this.side;
    this.colours.width = cols;
    this.colours.height = 1;
    const context = canvas.getContext("2d");
    if (context === null) throw new Error("this browser gives no canvas to paint on");
    this.context = context;
  }

  /** What is painted, while it forms; then the canvas alone has it. */
  private get pixels(): ImageData {
    this.kept ??= new ImageData(this.width, this.height);
    return this.kept;
  }

  /** True once it has ended, and all of it was painted by this decoder or a better one. */
  isFinished(tier: "preview" | "full"): boolean {
    return this.painted.full === this.picture.rowsHeld || (tier === "preview" && this.isExact);
  }

  /** The tier of the rows on the canvas: that of the newest. */
  get tier(): TierName {
    const held = this.picture.rowsHeld;
    const tiers = TIERS.filter((tier) => tier !== "none" && this.painted[tier] >= held);
    return held > 0 ? (tiers.at(-1) ?? "none") : "none";
  }

  /** True if this tier could paint more, or better, than is on the canvas. */
  wants(tier: TierName): boolean {
    const { rowsHeld, reason } = this.picture;
    if (rowsHeld === 0 || this.painted.full === rowsHeld) return false;
    if (tier === "full") return reason !== undefined;
    if (this.painted[tier] < rowsHeld) return true;
    return tier === "preview" && reason !== undefined && !this.isExact;
  }

  /** Paint new rows that nothing better has painted. */
  paintByPalette(palette: Palette): void {
    const { ids, rowsHeld, cols } = this.picture;
    const first = Math.max(...Object.values(this.painted));
    const words = new Uint32Array(this.pixels.data.buffer);
    for (let row = first; row < rowsHeld; row++) {
      const held = ids.subarray(row * cols, (row + 1) * cols);
      palette.paint(held, words, row * this.side, this.side);
    }
    this.painted.palette = rowsHeld;
    if (first < rowsHeld) this.draw(first);
  }

  /** Take what a decoder has painted, of the first `rows` rows; `isLast` if no more were to come. */
  take(
    tier: "preview" | "full",
    { rgba, firstRow, width }: Painted,
    rows: number,
    isLast: boolean,
  ): void {
    if (tier === "preview" && this.painted.full > 0) return;
    this.pixels.data.set(rgba, 4 * firstRow * width);
    this.painted[tier] = rows;
    this.isExact = isLast;
    this.draw(Math.floor(firstRow / this.side));
    if (this.isFinished(tier)) this.kept = undefined;
  }

  /** Put all there is on the canvas again, from a row on. */
  draw(firstRow = 0): void {
    const { rows, rowsHeld, reason } = this.picture;
    const shown = Math.min(rowsHeld, Math.max(...Object.values(this.painted)));
    const { width, height } = this;
    const [top, frontier] = [firstRow * this.side, shown * this.side];
    this.context.putImageData(this.pixels, 0, 0, 0, top, width, frontier - top);
    this.context.clearRect(0, frontier, width, height - frontier);
    if (shown === 0 || shown === rows || reason !== undefined) return;
    this.drawPlaceholder(frontier);
    this.context.fillStyle = LINE;
    this.context.fillRect(0, frontier, width, Math.max(1, height / 256));
  }

  private drawPlaceholder(frontier: number): void {
    const { context } = this;
    const { width, height } = this;
    this.takeColours(frontier - this.side);
    const fading = context.createLinearGradient(0, frontier, 0, height);
    FADING.forEach((colour, index) => {
      fading.addColorStop(index, colour);
    });
    context.save();
    context.beginPath();
    context.rect(0, frontier, width, height - frontier);
    context.clip();
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.colours, 0, frontier, width, height - frontier);
    context.globalCompositeOperation = "destination-in";
    context.fillStyle = fading;
    context.fillRect(0, frontier, width, height - frontier);
    context.restore();
  }

  /** The mean colour of each token of the row at `top`. */
  private takeColours(top: number): void {
    const { data, width } = this.pixels;
    const colours = new ImageData(this.colours.width, 1);
    const area = this.side * this.side;
    for (let token = 0; token < colours.width; token++) {
      for (let channel = 0; channel < 4; channel++) {
        let sum = 0;
        for (let y = top; y < top + this.side; y++) {
          const first = 4 * (y * width + token * this.side) + channel;
          for (let at = first; at < first + 4 * this.side; at += 4) sum += data[at];
        }
        colours.data[4 * token + channel] = sum / area;
      }
    }
    this.colours.getContext("2d")?.putImageData(colours, 0, 0);
  }
}
