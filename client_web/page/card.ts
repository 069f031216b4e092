/** One picture of the page: its canvas, its state in words, and what can be done with it. */

import type { Paintable } from "../src/pixels/canvas.js";
import type { Painter, Shown } from "../src/pixels/painter.js";
import type { Model, Picture, SavedPicture } from "../src/wire/index.js";
import { button, element, replaceActions } from "./elements.js";
import { RowChooser } from "./row-chooser.js";
import { render, saveGif, savePng, saveRows } from "./saving.js";
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
  stop_row: "first rows",
  cancelled: "stopped",
  deadline: "took too long",
  left: "as it was left",
};

export class Card {
  readonly item = element("li");
  readonly canvas = element("canvas", { role: "img" });
  readonly keep = element("input", { type: "checkbox" });
  picture: Picture | SavedPicture | undefined;
  /** Why it cannot be shown, or not be drawn on, in words. */
  failure: string | undefined;
  /** As its painter takes it. */
  paintable: Paintable | undefined;
  private readonly keepLabel = element("label", {}, this.keep, " Keep");
  private shown: Shown | undefined;
  private readonly chooser: RowChooser;
  private readonly frame = element("div", { class: "frame" }, this.canvas);
  private readonly state = element("p", { class: "state" }, "asked for");
  private readonly actions = element("div", { class: "actions" });
  private readonly replay: HTMLInputElement;
  private replayRow = 0;

  constructor(
    readonly number: number,
    private readonly prompt: string,
    private readonly painter: Painter,
    private readonly does: CardActions,
  ) {
    this.chooser = new RowChooser(`Other endings of picture ${number}`, (row) =>
      does.branch(this, row),
    );
    this.replay = element("input", {
      ...{ type: "range", class: "replay", min: 1, step: 1 },
      "aria-label": `Replay of picture ${number}, by row`,
      oninput: () => void this.showRows(this.replay.valueAsNumber),
    });
    this.item.append(this.frame, element("div", { class: "caption" }, this.state, this.actions));
    this.canvas.setAttribute("aria-label", this.label);
    this.keep.setAttribute("aria-label", `Keep picture ${number}`);
    this.keep.addEventListener("change", () => does.chosen());
  }

  /** True while rows may come. */
  get isForming(): boolean {
    return this.picture?.reason === undefined && this.failure === undefined;
  }

  get isWhole(): boolean {
    return this.picture !== undefined && this.picture.rowsHeld === this.picture.rows;
  }

  /** True if it has ended with rows missing, and can be drawn on. */
  get isPartial(): boolean {
    const { picture } = this;
    if (picture === undefined || this.isForming || this.isWhole) return false;
    return picture.rowsHeld > 0 && picture.prompt !== "";
  }

  /** Have it show a picture of `model`; another one takes the place of the one before. */
  show(picture: Picture | SavedPicture, model: Model): void {
    this.shown?.close();
    this.picture = picture;
    this.failure = undefined;
    this.paintable = picture.model === model ? (picture as Picture) : ofFile(picture, model);
    this.frame.style.setProperty("--rows", `${picture.rows}`);
    this.frame.style.setProperty("--shape", `${picture.cols} / ${picture.rows}`);
    this.shown = this.painter.show(this.paintable, this.canvas);
    this.update();
  }

  /** Rows came, or its state is another. */
  update(): void {
    this.shown?.update();
    this.state.textContent = this.words;
    this.canvas.setAttribute("aria-label", this.label);
    const { picture, isForming } = this;
    this.item.classList.toggle("forming", isForming && (picture?.rowsHeld ?? 0) > 0);
    if (picture === undefined) return;
    const share = picture.rowsHeld / picture.rows;
    this.frame.style.setProperty("--held", `${100 * share}%`);
    if (isForming) {
      this.set([this.act("Stop", () => this.does.stop(this))]);
    } else {
      this.offerAll(picture);
    }
  }

  /** It is drawn on: what belongs to an end goes. */
  resume(): void {
    this.keep.checked = false;
    this.failure = undefined;
    this.withdraw();
    this.shown?.update();
    this.state.textContent = "asked for";
    this.set([]);
  }

  close(): void {
    this.shown?.close();
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
      return this.isWhole ? end : `${end}, ${rows}`;
    }
    const place = "position" in picture ? picture.position : 0;
    return place > 0 ? `number ${place} in the queue` : rows;
  }

  private offerAll(picture: Picture | SavedPicture): void {
    const name = fileName(picture.prompt, picture.seed, picture.image);
    const { paintable, painter } = this;
    const saves = (save: typeof savePng) => () => {
      if (paintable) save(painter, paintable, name).catch((error) => problem(words(error)));
    };
    const saving =
      picture.rowsHeld > 0
        ? [
            this.act("PNG", saves(savePng)),
            this.act("GIF", saves(saveGif)),
            this.act(".rows", () => saveRows(picture, name)),
          ]
        : [];
    this.set([...(this.isPartial ? this.finishing() : []), ...saving]);
    if (picture.rowsHeld === 0) {
      this.withdraw();
      return;
    }
    if (picture.rowsHeld > 1 && !this.replay.isConnected) {
      this.replay.max = this.replay.value = `${picture.rowsHeld}`;
      this.frame.after(this.replay);
    }
    if (picture.prompt !== "" && !this.chooser.slider.isConnected) {
      this.chooser.lay(picture.rows, Math.min(picture.rowsHeld, picture.rows - 1));
      this.frame.append(this.chooser.slider);
    }
  }

  private withdraw(): void {
    if (this.replay.isConnected && this.replayRow > 0) void this.showRows(this.replay.max);
    for (const gone of [this.chooser.slider, this.replay]) gone.remove();
  }

  private finishing(): Node[] {
    return [this.keepLabel, this.act("Finish", () => this.does.finish(this))];
  }

  private act(text: string, does: () => void): HTMLButtonElement {
    return button(text, does, { "aria-label": `${text}, picture ${this.number}` });
  }

  private set(actions: Node[]): void {
    replaceActions(this.actions, actions);
  }

  /** Show it as it was, painted elsewhere first: nothing flickers. */
  private async showRows(row: number | string): Promise<void> {
    const { paintable, canvas } = this;
    const wanted = Number(row);
    this.replayRow = wanted;
    this.replay.setAttribute("aria-valuetext", `row ${wanted} of ${this.replay.max}`);
    if (paintable === undefined) return;
    const painted = await render(this.painter, paintable, wanted);
    if (this.replayRow !== wanted || this.paintable !== paintable) return;
    const context = canvas.getContext("2d");
    context?.clearRect(0, 0, canvas.width, canvas.height);
    context?.drawImage(painted, 0, 0);
  }
}

function ofFile(picture: Picture | SavedPicture, model: Model): Paintable {
  const { rows, cols, ids, rowsHeld, reason } = picture;
  return { model, rows, cols, ids, rowsHeld, reason: reason ?? "saved" };
}

function fileName(prompt: string, seed: number, image: number): string {
  const words = prompt.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ["picture"];
  return `${words.slice(0, 6).join("-").slice(0, 60)}-${seed}-${image}`;
}
