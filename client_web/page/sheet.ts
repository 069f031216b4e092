/** A request and its pictures. */

import type { Paintable } from "../src/pixels/canvas.js";
import type { Shown } from "../src/pixels/painter.js";
import type {
  GenerateRequest,
  Generation,
  Model,
  Picture,
  SavedGeneration,
  SavedPicture,
} from "../src/wire/index.js";
import { Card, type CardActions } from "./card.js";
import { button, element } from "./elements.js";
import { jpegBytes } from "./saving.js";
import type { Studio } from "./studio.js";
import { problem, say, size, words } from "./telling.js";

/** What a sheet asks of the page. */
export interface SheetActions {
  /** Something is to be kept for a reload. */
  changed(): void;
  /** Ask for other pictures, in a sheet of their own. */
  ask(request: GenerateRequest, title: string): void;
  images(): number;
}

export class Sheet implements CardActions {
  readonly section: HTMLElement;
  readonly generations: Generation[] = [];
  private readonly cards: Card[] = [];
  private readonly facts = element("p", { class: "facts quiet" });
  private readonly bar = element("div", { class: "bar" });
  private readonly list = element("ol", { class: "pictures" });
  private readonly mosaic = element("div", { class: "mosaic" });
  private mosaicShown: Shown | undefined;
  private readonly begun = performance.now();
  private readonly bytesBefore: number;
  private firstRow: number | undefined;
  private lastRow = 0;
  private rowsCome = 0;
  private jpeg = 0;

  constructor(
    private readonly studio: Studio,
    private readonly title: string,
    private readonly prompt: string,
    private readonly does: SheetActions,
  ) {
    this.bytesBefore = studio.client.bytesReceived;
    const heading = element("h2", {}, title);
    this.section = element(
      "article",
      { class: "sheet", "aria-label": title },
      heading,
      this.facts,
      this.bar,
      this.list,
    );
  }

  /** The generation that a reload goes on with, if there is one. */
  save(): { title: string; prompt: string; generations: SavedGeneration[] } | undefined {
    if (this.generations.length === 0) return undefined;
    const generations = this.generations.map((generation) => generation.save());
    return { title: this.title, prompt: this.prompt, generations };
  }

  /** Follow a generation, whose pictures are shown on `cards`, or on new ones. */
  async follow(generation: Generation, cards?: Card[]): Promise<void> {
    this.generations.push(generation);
    const mine = cards ?? generation.pictures.map(() => this.addCard());
    this.tell();
    try {
      for await (const event of generation) {
        const card = mine[event.index];
        if (event.type === "accepted" && card.picture !== event.picture) {
          card.show(event.picture, event.picture.model);
          this.notice(event.picture);
        }
        if (event.type === "rows") this.count(event.count);
        if (event.type === "failed") card.failure = event.error.message;
        if (event.type === "done") say(`Picture ${card.number}: ${event.reason}`);
        card.update();
        this.tell();
        this.does.changed();
      }
      await this.weigh();
    } catch (error) {
      const text = words(error);
      for (const card of mine) {
        if (card.picture?.reason === undefined) card.failure = text;
        card.update();
      }
      problem(text);
    }
    this.tell();
    this.does.changed();
  }

  /** Show a picture of a file. */
  showSaved(picture: SavedPicture, model: Model): void {
    const card = this.addCard();
    if (picture.reason === undefined) picture.reason = "left";
    card.show(picture, model);
    this.tell();
  }

  branch(card: Card, row: number): void {
    const { picture } = card;
    if (picture === undefined) return;
    const { seed: _, images: __, ...request } = this.again(picture);
    const title = `From row ${row} of “${picture.prompt}”`;
    const prefix = picture.prefix(row);
    this.does.ask({ ...request, firstImage: 0, images: this.does.images(), prefix }, title);
  }

  finish(card: Card): void {
    const { picture } = card;
    if (picture === undefined) return;
    card.resume();
    try {
      const request = { ...this.again(picture), prefix: picture.prefix() };
      void this.follow(this.studio.client.generate(request), [card]);
    } catch (error) {
      problem(words(error));
      card.update();
    }
  }

  stop(card: Card): void {
    for (const generation of this.generations) {
      const index = generation.pictures.indexOf(card.picture as Picture);
      if (index >= 0) generation.cancel(index);
    }
  }

  chosen(): void {
    this.tell();
  }

  private addCard(): Card {
    const card = new Card(this.cards.length + 1, this.prompt, this.studio.painter, this);
    this.cards.push(card);
    this.list.append(card.item);
    return card;
  }

  /** The request that draws this picture on. */
  private again(picture: Picture | SavedPicture): GenerateRequest {
    const { prompt, seed, image, revision, sampling, model } = picture;
    const { minP, ...others } = sampling;
    return {
      ...{ prompt, seed, firstImage: image, images: 1, revision, ...others },
      ...(minP > 0 && { minP }),
      model: typeof model === "string" ? model : model.name,
    };
  }

  private notice({ textCut, textLost }: Picture): void {
    if (textCut > 0) problem("The prompt is longer than the model reads: its end is not used.");
    if (textLost > 0) problem(`${textLost} characters of the prompt are unknown to the model.`);
  }

  private count(rows: number): void {
    this.lastRow = performance.now();
    this.firstRow ??= this.lastRow;
    this.rowsCome += rows;
  }

  private async weigh(): Promise<void> {
    await Promise.all(this.cards.map((card) => card.settled));
    const done = this.cards.filter((card) => card.picture?.rowsHeld);
    const sizes = await Promise.all(done.map((card) => jpegBytes(card.canvas)));
    this.jpeg = sizes.reduce((sum, each) => sum + each, 0);
  }

  /** The line of figures, and what can be done with all pictures. */
  private tell(): void {
    this.facts.textContent = this.figures();
    const forming = this.cards.filter(
      ({ picture, failure }) => picture?.reason === undefined && failure === undefined,
    );
    const partial = this.cards.filter((card) => card.isPartial);
    const kept = partial.filter((card) => card.keep.checked);
    const whole = this.cards.filter(({ picture }) => picture?.rowsHeld === picture?.rows);
    const actions: [string, () => void][] = [];
    if (forming.length > 0 && this.generations.length > 0) {
      actions.push(["Stop all", () => this.generations.forEach((each) => void each.cancel())]);
    }
    if (partial.length > 1) {
      const chosen = kept.length > 0 ? kept : partial;
      const text = kept.length > 0 ? `Finish the ${kept.length} kept` : "Finish all";
      actions.push([text, () => chosen.forEach((card) => void this.finish(card))]);
    }
    if (this.cards.length > 1 && whole.length === this.cards.length && forming.length === 0) {
      const text = this.mosaicShown ? "Side by side" : "Seamless";
      actions.push([text, () => this.toggleMosaic()]);
    }
    if (this.generations.length > 0) actions.push(["Share", () => void this.share()]);
    const shown = actions.map(([text]) => text).join();
    if (this.bar.dataset.shown === shown) return;
    this.bar.dataset.shown = shown;
    this.bar.replaceChildren(...actions.map(([text, act]) => button(text, act)));
  }

  private figures(): string {
    const [picture] = this.cards.map((card) => card.picture).filter((each) => each !== undefined);
    const told: string[] = [];
    if (picture) told.push(`seed ${picture.seed}`);
    if (this.firstRow !== undefined && this.rowsCome > 0) {
      const bytes = this.studio.client.bytesReceived - this.bytesBefore;
      const rows = this.rowsCome;
      told.push(`first row after ${seconds(this.firstRow - this.begun)}`);
      if (rows > 1) told.push(`a row each ${seconds((this.lastRow - this.firstRow) / (rows - 1))}`);
      told.push(`${size(bytes)} received`);
      if (this.jpeg > 0) told.push(`as JPEG ${size(this.jpeg)}`);
    }
    return told.join(" · ");
  }

  /** All pictures decoded as one, so that they run into each other. */
  private toggleMosaic(): void {
    if (this.mosaicShown) {
      this.mosaicShown.close();
      this.mosaicShown = undefined;
      this.mosaic.replaceWith(this.list);
    } else {
      const canvas = element("canvas", {
        role: "img",
        "aria-label": `${this.prompt}: ${this.cards.length} pictures joined`,
      });
      this.mosaic.replaceChildren(canvas);
      this.list.replaceWith(this.mosaic);
      this.mosaicShown = this.studio.painter.show(joined(this.cards), canvas);
    }
    this.tell();
  }

  private async share(): Promise<void> {
    const page = new URL(location.href);
    const links = this.generations.map((generation) => {
      page.hash = encodeURIComponent(generation.link);
      return page.href;
    });
    const text = links.join("\n");
    try {
      await navigator.clipboard.writeText(text);
      say("The link is copied");
      problem("");
      this.facts.textContent = "The link is copied: who opens it watches these pictures.";
    } catch {
      const field = element("input", { value: text, readonly: true, "aria-label": "Link" });
      problem("Who opens this link watches these pictures:", field);
      field.select();
    }
  }
}

/** Pictures of equal size as one grid: 4 as 2 rows of 2, 6 as 2 of 3. */
function joined(cards: Card[]): Paintable {
  const pictures = cards.map(({ picture }) => picture as Picture);
  const [{ rows, cols, model }] = pictures;
  let down = Math.floor(Math.sqrt(pictures.length));
  while (pictures.length % down !== 0) down--;
  const across = pictures.length / down;
  const ids = new Uint32Array(rows * cols * pictures.length);
  for (const [number, picture] of pictures.entries()) {
    const [top, left] = [Math.floor(number / across) * rows, (number % across) * cols];
    for (let row = 0; row < rows; row++) {
      ids.set(
        picture.ids.subarray(row * cols, (row + 1) * cols),
        (top + row) * cols * across + left,
      );
    }
  }
  const all = { rows: rows * down, cols: cols * across };
  return { model, ids, ...all, rowsHeld: all.rows, reason: "complete" };
}

function seconds(milliseconds: number): string {
  return milliseconds < 1_000
    ? `${Math.round(milliseconds)} ms`
    : `${(milliseconds / 1_000).toFixed(1)} s`;
}
