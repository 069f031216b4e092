/** A request and its pictures. */

import {
  ConnectionLost,
  type GenerateRequest,
  type Generation,
  type Model,
  type Picture,
  type SavedGeneration,
  type SavedPicture,
} from "../src/wire/index.js";
import { Card, type CardActions } from "./card.js";
import { button, element, replaceActions } from "./elements.js";
import { type Counted, Figures } from "./figures.js";
import type { KeptPart, KeptSheet } from "./kept.js";
import { Mosaic } from "./mosaic.js";
import { JPEG_QUALITY, jpegBytes, savePng } from "./saving.js";
import type { Studio } from "./studio.js";
import { problem, say, words } from "./telling.js";

/** What a sheet asks of the page. */
export interface SheetActions {
  /** Ask for other pictures, in a sheet of their own. */
  ask(request: GenerateRequest, title: string): void;
  /** How many are wanted. */
  images(): number;
  /** The sheet is closed. */
  removed(sheet: Sheet): void;
}

/** A generation, and the cards that show its pictures. */
interface Part {
  readonly generation: Generation;
  readonly cards: Card[];
  /** Kept as it ended; undefined while it may change. */
  saved?: SavedGeneration;
}

const HINT = matchMedia("(hover: none)").matches
  ? "Touch a row of a picture twice to draw other endings below it."
  : "Click a row of a picture, or press Enter on it, to draw other endings below it.";

export class Sheet implements CardActions {
  readonly section: HTMLElement;
  private readonly parts: Part[] = [];
  private readonly cards: Card[] = [];
  private readonly figures: Figures;
  private readonly bar = element("div", { class: "bar" });
  private readonly note = element("p", { class: "quiet note" });
  private readonly hint = element("p", { class: "quiet note" });
  private readonly list = element("ol", { class: "pictures" });
  private mosaic: Mosaic | undefined;

  constructor(
    private readonly studio: Studio,
    private readonly title: string,
    private readonly prompt: string,
    private readonly does: SheetActions,
    counted?: Counted,
  ) {
    this.figures = new Figures(counted);
    const heading = element("h2", {}, title);
    this.section = element("article", { class: "sheet", "aria-label": title }, heading);
    this.section.append(this.figures.list, this.list, this.bar, this.note, this.hint);
  }

  /** What a reload goes on with; undefined of what is of a file. */
  save(): KeptSheet | undefined {
    if (this.parts.length === 0) return undefined;
    const { title, prompt, cards } = this;
    const parts: KeptPart[] = this.parts.map((part) => ({
      cards: part.cards.map((card) => cards.indexOf(card)),
      saved: part.saved ?? part.generation.save(),
    }));
    return { title, prompt, parts, counted: this.figures.kept };
  }

  /** True if it watches, or draws, the pictures of this link. */
  has(link: string): boolean {
    return this.parts.some(({ generation }) => generation.link === link);
  }

  /**
   * Follow a generation, whose pictures are shown on the cards of these places, or on new ones.
   * `begun` says when it was asked for, where that is known.
   */
  async follow(generation: Generation, places?: number[], begun?: number): Promise<void> {
    const first = this.cards.length;
    const mine = generation.pictures.map((_, index) => this.card(places?.[index] ?? first + index));
    const part: Part = { generation, cards: mine };
    this.parts.push(part);
    this.studio.meter.take();
    this.tell();
    try {
      for await (const { index, picture, ...event } of generation) {
        const card = mine[index];
        if (this.partOf(card) !== part && card.picture) continue; // drawn on since
        if (card.picture !== picture) {
          card.show(picture, picture.model);
          this.figures.tellSeed(picture.seed);
          notice(picture);
        }
        if (event.type === "rows") {
          const { count } = event as { count: number };
          this.figures.count(picture, count, this.studio.meter.take(), begun);
        }
        if (event.type === "failed") card.failure = (event as { error: Error }).error.message;
        card.update();
        this.tell();
      }
      this.end(part, "never begun");
    } catch (error) {
      this.end(part, words(error));
      const isTold = error instanceof ConnectionLost; // for all sheets at once
      if (this.section.isConnected && !isTold) problem(words(error));
    }
    await this.weigh();
  }

  /** Show a picture of a file. */
  showSaved(picture: SavedPicture, model: Model): void {
    if (picture.reason === undefined) picture.reason = "left";
    this.card(this.cards.length).show(picture, model);
    this.figures.tellSeed(picture.seed);
    this.tell();
  }

  branch({ picture }: Card, row: number): void {
    if (picture === undefined) return;
    const { seed: _, ...request } = again(picture);
    const title = `${picture.prompt} — from row ${row} on`;
    const prefix = picture.prefix(row);
    this.does.ask({ ...request, firstImage: 0, images: this.does.images(), prefix }, title);
  }

  finish(card: Card): void {
    const { picture } = card;
    if (picture === undefined) return;
    try {
      const request = { ...again(picture), prefix: picture.prefix() };
      const generation = this.studio.client.generate(request);
      card.resume();
      void this.follow(generation, [this.cards.indexOf(card)]);
    } catch (error) {
      problem(words(error));
    }
  }

  stop(card: Card): void {
    const part = this.partOf(card);
    part?.generation.cancel(part.cards.indexOf(card));
  }

  chosen(): void {
    this.tell();
  }

  close(): void {
    for (const { generation } of this.parts) generation.cancel();
    for (const card of this.cards) card.close();
    this.mosaic?.close();
    this.section.remove();
  }

  /** The last part that draws a card. */
  private partOf(card: Card): Part | undefined {
    return this.parts.findLast(({ cards }) => cards.includes(card));
  }

  private card(place: number): Card {
    while (this.cards.length <= place) {
      const card = new Card(this.cards.length + 1, this.prompt, this.studio.painter, this);
      this.cards.push(card);
      this.list.append(card.item);
    }
    this.list.dataset.count = `${this.cards.length}`;
    return this.cards[place];
  }

  /** A part is over; `why` is what became of pictures that were not ended by the server. */
  private end(part: Part, why: string): void {
    part.saved = part.generation.save();
    for (const card of part.cards) {
      if (this.partOf(card) !== part) continue;
      if (card.isForming) card.failure = why;
      else if (!part.generation.pictures.includes(card.picture as Picture)) card.failure = why;
      card.update();
    }
    this.tell();
    const whole = this.cards.filter((card) => card.isWhole).length;
    if (this.cards.every((card) => !card.isForming)) {
      say(`${whole} of ${this.cards.length} pictures done: ${this.title}`);
    }
  }

  private async weigh(): Promise<void> {
    if (this.cards.some((card) => !card.isWhole)) return;
    await Promise.all(this.cards.map((card) => card.settled));
    let bytes = 0;
    for (const { canvas } of this.cards) bytes += await jpegBytes(canvas); // none waits for long
    this.figures.tellJpeg(bytes, JPEG_QUALITY);
  }

  /** What can be done with all pictures. */
  private tell(): void {
    const { cards, parts, mosaic } = this;
    const partial = cards.filter((card) => card.isPartial);
    const kept = partial.filter((card) => card.keep.checked);
    const whole = cards.filter((card) => card.isWhole && !card.isForming);
    const mayBranch = cards.some(({ picture, isForming }) => picture?.prompt && !isForming);
    this.hint.textContent = mayBranch ? HINT : "";
    this.list.classList.toggle("choosing", kept.length > 0);
    for (const card of cards) card.item.classList.toggle("kept", kept.includes(card));
    const actions: [string, () => void][] = [];
    if (parts.length > 0 && cards.some((card) => card.isForming)) {
      const stop = () => parts.forEach(({ generation }) => void generation.cancel());
      actions.push([cards.length > 1 ? "Stop all" : "Stop", stop]);
    }
    if (partial.length > 1) {
      const chosen = kept.length > 0 ? kept : partial;
      const text = kept.length > 0 ? `Finish the ${kept.length} kept` : "Finish all";
      actions.push([text, () => chosen.forEach((card) => void this.finish(card))]);
    }
    if (whole.length > 1) {
      actions.push([mosaic ? "Side by side" : "Join seamlessly", () => this.toggleMosaic()]);
      if (mosaic) actions.push(["PNG of all", () => this.saveMosaic()]);
    }
    if (parts.length > 0) actions.push(["Copy link", () => void this.share()]);
    actions.push(["Remove", () => this.does.removed(this)]);
    replaceActions(
      this.bar,
      actions.map(([text, act]) => button(text, act)),
    );
  }

  private toggleMosaic(): void {
    if (this.mosaic) {
      this.mosaic.close();
      this.mosaic.canvas.replaceWith(this.list);
      this.mosaic = undefined;
    } else {
      const whole = this.cards.flatMap((card) => (card.isWhole ? (card.paintable ?? []) : []));
      const label = `${this.prompt}: ${whole.length} pictures joined`;
      this.mosaic = new Mosaic(this.studio.painter, whole, label);
      this.list.replaceWith(this.mosaic.canvas);
    }
    this.tell();
  }

  private saveMosaic(): void {
    const { mosaic, studio } = this;
    if (mosaic === undefined) return;
    savePng(studio.painter, mosaic.picture, "rowcast").catch((error) => problem(words(error)));
  }

  private async share(): Promise<void> {
    const page = new URL(location.href);
    const links = this.parts.map(({ generation }) => {
      page.hash = encodeURIComponent(generation.link);
      return page.href;
    });
    const words = "who opens it sees these pictures as they form, and for a while after";
    try {
      await navigator.clipboard.writeText(links.join("\n"));
      this.note.textContent = `The link is copied: ${words}.`;
      say(this.note.textContent);
    } catch {
      const value = links.join(" ");
      const field = element("input", { value, readonly: true, "aria-label": "Link" });
      this.note.replaceChildren(`A link to copy: ${words}.`, field);
      field.select();
    }
  }
}

/** The request that draws this picture. */
function again(picture: Picture | SavedPicture): GenerateRequest {
  const { prompt, seed, image, revision, sampling, model } = picture;
  const { minP, ...others } = sampling;
  return {
    ...{ prompt, seed, firstImage: image, images: 1, revision, ...others },
    ...(minP > 0 && { minP }),
    model: typeof model === "string" ? model : model.name,
  };
}

function notice({ textCut, textLost }: Picture): void {
  if (textCut > 0) problem("The prompt is longer than the model reads: its end is not used.");
  if (textLost > 0) problem(`${textLost} characters of the prompt are unknown to the model.`);
}
