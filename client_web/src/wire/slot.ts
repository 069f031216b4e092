/** One picture of a generation: its stream, the messages that ask for it, and what came of it. */

import { ProtocolError, type RequestRefused } from "./errors.js";
import type { Generation } from "./generation.js";
import { type DoneReason, doneReason, type Message, type Model } from "./messages.js";
import { Picture } from "./picture.js";

/** Something happened to picture number `index` of a request. */
export type PictureEvent =
  | { type: "accepted"; index: number; picture: Picture; position: number }
  | { type: "queued"; index: number; picture: Picture; position: number }
  | { type: "rows"; index: number; picture: Picture; firstRow: number; count: number }
  | { type: "done"; index: number; picture: Picture; reason: DoneReason }
  | { type: "failed"; index: number; picture: Picture; error: RequestRefused };

export type OfStream = Message<"accepted" | "queued" | "rows" | "done">;

export class Slot {
  picture: Picture | undefined; // once it is accepted
  hasEnded = false;
  isAnswered = false; // by `accepted`, on this connection
  isPutOff = false; // by a server that is busy: it is asked again later
  isCancelled = false; // by our user, whatever the server says
  error: RequestRefused | undefined;
  readonly image: number;
  #toldRows = 0;

  constructor(
    readonly generation: Generation,
    readonly index: number,
    readonly stream: number,
  ) {
    this.image = generation.asked.options.firstImage + index;
  }

  /** True if all rows that were asked for have arrived. */
  get holdsAll(): boolean {
    return this.picture !== undefined && this.picture.rowsHeld >= this.#rowsAsked;
  }

  get #rowsAsked(): number {
    return this.generation.asked.options.stopRow ?? this.picture?.rows ?? 0;
  }

  /**
   * The message that takes up this unfinished picture on a new socket: as its owner, so that a
   * known picture is attached to and an unknown one drawn on; but who holds all that
   * was asked for can only watch.
   */
  resumeMessage(): Message<"start" | "watch"> {
    const { generation, image, picture, stream } = this;
    const { key, prompt, viewKey } = generation.asked;
    if (key && !this.holdsAll) {
      const options = { ...generation.stated(picture), firstImage: image };
      return { type: "start", stream, key, prompt, images: 1, options };
    }
    const [rowsHeld, crc32] = [picture?.rowsHeld ?? 0, picture?.checksum ?? 0];
    return { type: "watch", stream, viewKey, image, rowsHeld, crc32 };
  }

  /** What ends it where it was cancelled; an own one that is whole only waits for its end. */
  cancelMessages(): Message<"cancel">[] {
    const isDue = this.isCancelled && !(this.generation.isOwn && this.holdsAll);
    return isDue ? [{ type: "cancel", stream: this.stream }] : [];
  }

  /**
   * Take a message of its stream; `models` are those announced. Throws ProtocolError for one that
   * cannot be.
   */
  take(message: OfStream, models: Model[]): void {
    if (message.type === "accepted") this.#accept(message, models);
    const { picture } = this;
    const rowsAsked = this.#rowsAsked;
    if (picture === undefined) throw new ProtocolError(`${message.type} came before accepted`);
    switch (message.type) {
      case "accepted":
      case "queued":
        picture.position = message.position;
        break;
      case "rows":
        picture.addRows(message.firstRow, message.ids);
        if (picture.rowsHeld > rowsAsked) {
          throw new ProtocolError(`${picture.rowsHeld} rows, where ${rowsAsked} were due`);
        }
        break;
      case "done": {
        const { rows, crc32, milliseconds, reason } = message;
        const { stopRow } = this.generation.asked.options; // nobody tells a viewer
        const due = [picture.rows, stopRow ?? rows][reason] ?? rows;
        if (rows !== picture.rowsHeld || rows !== due || crc32 !== picture.checksum) {
          throw new ProtocolError(
            `${doneReason(reason)} with ${rows} rows of checksum ${crc32}, where ` +
              `${picture.rowsHeld} of ${picture.checksum} came`,
          );
        }
        this.finish(doneReason(reason), milliseconds);
        return;
      }
    }
    this.generation.tell(this, message.type);
  }

  finish(reason: DoneReason, milliseconds = 0): void {
    this.hasEnded = true;
    Object.assign(this.picture as Picture, { reason, milliseconds });
    this.generation.tell(this, "done");
  }

  fail(error: RequestRefused): void {
    this.hasEnded = true;
    this.error = error;
    if (this.picture) this.generation.tell(this, "failed");
    else this.generation.wake();
  }

  /** End it as cancelled; there is no event for what was never accepted. */
  drop(): void {
    this.hasEnded = true;
    if (this.picture) this.finish(this.generation.isOwn ? "cancelled" : "left");
    else this.generation.wake();
  }

  /** The event of a kind, of the newest state. */
  event(type: PictureEvent["type"]): PictureEvent {
    const { index, error } = this;
    const picture = this.picture as Picture;
    const { position, rowsHeld, reason } = picture;
    if (type === "failed") return { type, index, picture, error: error as RequestRefused };
    if (type === "done") return { type, index, picture, reason: reason as DoneReason };
    if (type !== "rows") return { type, index, picture, position };
    const firstRow = this.#toldRows;
    this.#toldRows = rowsHeld;
    return { type, index, picture, firstRow, count: rowsHeld - firstRow };
  }

  #accept(accepted: Message<"accepted">, models: Model[]): void {
    const { generation, image, index, picture } = this;
    const { options, prompt, viewKey } = generation.asked;
    const model = models.find(({ name }) => name === accepted.model);
    if (model === undefined) {
      throw new ProtocolError(`${accepted.model} was not announced`);
    }
    if (this.isAnswered) throw new ProtocolError("a picture was accepted twice");
    this.isAnswered = true;
    const { rows, cols, idBytes } = model;
    const prefix = options.prefix ?? new Uint8Array();
    const isOwn = generation.isOwn;
    checkFields(accepted, {
      image,
      ...{ rows, cols, idBytes },
      firstRow: picture ? picture.rowsHeld : prefix.length / (cols * idBytes),
    });
    if (picture) {
      const { seed, revision, textCut, textLost } = picture;
      checkFields(accepted, { model: picture.model.name, seed, revision });
      if (picture.rowsHeld > 0) checkFields(accepted, { textCut, textLost });
      return;
    }
    if (isOwn) {
      checkFields(accepted, {
        model: options.model ?? models[0].name,
        seed: generation.knownSeed ?? options.seed ?? accepted.seed, // one for all
        revision: options.revision ?? accepted.revision,
      });
    }
    this.picture = new Picture(index, accepted, model, prompt, options, viewKey, isOwn);
    this.picture.addRows(0, prefix);
    this.#toldRows = this.picture.rowsHeld;
  }
}

function checkFields(accepted: Message<"accepted">, due: Partial<Message<"accepted">>): void {
  for (const [name, value] of Object.entries(due)) {
    const told = accepted[name as keyof typeof accepted];
    if (String(told) === String(value)) continue; // bytes as well
    throw new ProtocolError(`${name} ${told}, where ${value} was due`);
  }
}
