/** One picture of the page: its canvas, its state in words, and what can be done with it. */

import type { Paintable } from "../src/pixels/canvas.js";
import type { Painter, Shown } from "../src/pixels/painter.js";
import type { Model, Picture, SavedPicture } from "../src/wire/index.js";
import { button, element } from "./elements.js";
import { saveGif, savePng, saveRows, upTo } from "./saving.js";
import { problem, words } from "./telling.js";

/** What a card asks of its sheet. */
export interface CardActions {
  /** New endings under the first rows. */
  branch(card: Card, row: number): void;
  /** Draw on to the end. */
  finish(card: Card): void;
  stop(card: Card): void;
  /** A card was chosen, or no longer. */
  chosen(): void;
}

const ENDS: Record<string, string> = {
  complete: "done",
  stop_row: "first rows only",
  cancelled: "stopped",
  deadline: "the server gave up: it took too long",
  left: "left",
};

export class Card {
  readonly item = element("li");
  readonly canvas = element("canvas", { role: "img" });
  readonly keep = element("input", { type: "checkbox" });
  picture: Picture | SavedPicture | undefined;
  failure: string | undefined;
  private shown: Shown | undefined;
  private replayed: Shown | undefined;
  private readonly frame = element("div", { class: "frame" }, this.canvas);
  private readonly state = element("p", { class: "state quiet" }, "asked for");
  private readonly actions = element("div", { class: "caption" }, this.state);
  private readonly cut = element("input", {
    type: "range",
    class: "cut",
    min: 1,
    step: 1,
    title: "click a row, or press Enter: other endings below it",
  });
  private readonly line = element("div", { class: "line" });
  private readonly replay = element("input", {
    type: "range",
    class: "replay",
    min: 1,
    step: 1,
    "aria-label": "Replay, by row",
  });

  constructor(
    readonly number: number,
    private readonly prompt: string,
    private readonly painter: Painter,
    private readonly does: CardActions,
  ) {
    this.item.append(this.frame, this.actions);
    this.canvas.setAttribute("aria-label", this.label);
    this.keep.addEventListener("change", () => this.does.chosen());
    this.cut.addEventListener("pointermove", (event) => this.point(event));
    this.cut.addEventListener("input", () => this.drawLine());
    this.cut.addEventListener("click", (event) => {
      this.point(event);
      this.does.branch(this, this.cut.valueAsNumber);
    });
    this.cut.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.does.branch(this, this.cut.valueAsNumber);
    });
    this.replay.addEventListener("input", () => this.showUpTo(this.replay.valueAsNumber));
  }

  /** True if it has ended with rows missing, and can be drawn on. */
  get isPartial(): boolean {
    const { picture } = this;
    return (
      picture?.reason !== undefined &&
      picture.rowsHeld < picture.rows &&
      picture.prompt !== "" &&
      this.failure === undefined
    );
  }

  /** Have it show a picture of `model`; another one takes the place of the one before. */
  show(picture: Picture | SavedPicture, model: Model): void {
    this.shown?.close();
    this.picture = picture;
    const paintable: Paintable =
      picture.model === model ? (picture as Picture) : withModel(picture, model);
    this.paintable = paintable;
    this.frame.style.aspectRatio = `${picture.cols} / ${picture.rows}`;
    this.shown = this.painter.show(paintable, this.canvas);
    this.update();
  }
  private paintable: Paintable | undefined;

  /** Rows came, or its state is another. */
  update(): void {
    this.shown?.update();
    this.state.textContent = this.words;
    const { picture } = this;
    const hasEnded = picture?.reason !== undefined || this.failure !== undefined;
    this.canvas.setAttribute("aria-label", this.label);
    if (!picture) return;
    if (!hasEnded) {
      this.set(this.actionOf("Stop", () => this.does.stop(this)));
      return;
    }
    const name = fileName(picture.prompt, picture.seed, picture.image);
    const { paintable } = this;
    this.set(
      ...(this.isPartial ? this.finishing() : []),
      this.actionOf("PNG", () => void savePng(this.canvas, name)),
      this.actionOf("GIF", () => {
        if (paintable) saveGif(this.painter, paintable, name).catch((why) => problem(words(why)));
      }),
      this.actionOf(".rows", () => saveRows(picture, name)),
    );
    if (picture.rowsHeld > 1 && !this.replay.isConnected) {
      this.replay.max = `${picture.rowsHeld}`;
      this.replay.value = this.replay.max;
      this.item.append(this.replay);
    }
    if (picture.rowsHeld > 0 && picture.prompt !== "" && !this.cut.isConnected) {
      const most = Math.min(picture.rowsHeld, picture.rows - 1);
      this.cut.max = `${most}`;
      this.cut.value = `${Math.ceil(most / 2)}`;
      this.cut.setAttribute("aria-label", `Row of picture ${this.number} to branch from`);
      this.frame.append(this.cut, this.line);
      this.drawLine();
    }
  }

  /** It is drawn on: what belongs to an end goes. */
  resume(): void {
    this.keep.checked = false;
    for (const gone of [this.cut, this.line, this.replay]) gone.remove();
    this.state.textContent = "drawn on";
  }

  /** Resolves once its pixels are there. */
  get settled(): Promise<void> {
    return this.shown?.settled ?? Promise.resolve();
  }

  private get label(): string {
    return `${this.prompt || "a shared picture"}, picture ${this.number}: ${this.words}`;
  }

  private get words(): string {
    const { picture, failure } = this;
    if (failure !== undefined) return failure;
    if (picture === undefined) return "asked for";
    const rows = `${picture.rowsHeld} of ${picture.rows} rows`;
    if (picture.reason !== undefined) {
      const end = ENDS[picture.reason] ?? "ended";
      return picture.rowsHeld === picture.rows ? end : `${end}, ${rows}`;
    }
    const place = "position" in picture ? picture.position : 0;
    return place > 0 ? `waits, number ${place} in the queue` : rows;
  }

  private finishing(): Node[] {
    const label = element("label", {}, this.keep, "keep");
    return [label, this.actionOf("Finish", () => this.does.finish(this))];
  }

  private actionOf(text: string, act: () => void): HTMLButtonElement {
    return button(text, act, { "aria-label": `${text}, picture ${this.number}` });
  }

  private set(...actions: Node[]): void {
    const shown = actions.map((each) => each.textContent).join();
    if (this.actions.dataset.shown === shown) return; // focus stays where it is
    this.actions.dataset.shown = shown;
    this.actions.replaceChildren(this.state, ...actions);
  }

  private point(event: MouseEvent): void {
    if (event.detail === 0 && event.type === "click") return; // of the keyboard
    const { top, height } = this.frame.getBoundingClientRect();
    const rows = this.picture?.rows ?? 1;
    this.cut.value = `${Math.round((rows * (event.clientY - top)) / height)}`;
    this.drawLine();
  }

  private drawLine(): void {
    this.line.style.top = `${(100 * this.cut.valueAsNumber) / (this.picture?.rows ?? 1)}%`;
    this.cut.setAttribute("aria-valuetext", `below row ${this.cut.value}`);
  }

  private showUpTo(rows: number): void {
    this.replayed?.close();
    if (this.paintable) this.replayed = this.painter.show(upTo(this.paintable, rows), this.canvas);
  }
}

function withModel(picture: Picture | SavedPicture, model: Model): Paintable {
  const { rows, cols, ids, rowsHeld, reason } = picture;
  return { model, rows, cols, ids, rowsHeld, reason: reason ?? "saved" };
}

function fileName(prompt: string, seed: number, image: number): string {
  const words = prompt.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ["picture"];
  return `${words.slice(0, 6).join("-").slice(0, 60)}-${seed}-${image}`;
}
