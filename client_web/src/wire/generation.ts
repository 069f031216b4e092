/**
 * The pictures of one request as they form: the messages that ask for them, and their events.
 *
 * What arrived is handed out coalesced: who paints slowly sees fewer, larger steps, always of the
 * newest state. Knows nothing of frames or sockets.
 */

import { ProtocolError, type RequestRefused, type RowcastError } from "./errors.js";
import type { DoneReason, Message, Model, Options } from "./messages.js";
import { doneReason } from "./messages.js";
import { Picture, type Sampling, same, UNKNOWN_SAMPLING } from "./picture.js";
import { type SavedGeneration, saved } from "./saved-generation.js";
import { sha256 } from "./sha256.js";
import { formatShareLink } from "./share-link.js";

/** Something happened to picture number `index` of a request. */
export type PictureEvent =
  | { type: "accepted"; index: number; picture: Picture; position: number }
  | { type: "queued"; index: number; picture: Picture; position: number }
  | { type: "rows"; index: number; picture: Picture; firstRow: number; count: number }
  | { type: "done"; index: number; picture: Picture; reason: DoneReason }
  | { type: "failed"; index: number; picture: Picture; error: RequestRefused };

/** A request as it was made. */
export interface Asked {
  readonly prompt: string;
  readonly images: number;
  readonly options: Options;
  /** The owner's key; undefined where somebody else's pictures are watched. */
  readonly key: Uint8Array | undefined;
  readonly viewKey: Uint8Array;
}

const MOST_EXTRA_WAIT = 0.25; // of the wait that a busy server asks for: clients come back apart

/** By which anybody may watch what has this key. */
export function viewKeyOf(key: Uint8Array): Uint8Array {
  return sha256(Uint8Array.from([...new TextEncoder().encode("rowcast view"), ...key])).slice(
    0,
    16,
  );
}

/** One picture of a generation: its stream and its state. */
export class Slot {
  picture: Picture | undefined; // once it is accepted
  hasEnded = false;
  toldRows = 0;
  isAnswered = false; // by `accepted`, on this connection
  isPutOff = false; // by a server that is busy: it is asked again later
  error: RequestRefused | undefined;
  readonly image: number;

  constructor(
    readonly generation: Generation,
    readonly index: number,
    readonly stream: number,
  ) {
    this.image = generation.asked.options.firstImage + index;
  }

  get rowsAsked(): number {
    return this.generation.asked.options.stopRow ?? this.picture?.rows ?? 0;
  }

  /** The message that takes up this unfinished picture on a new socket. */
  resumeMessage(): Message<"start" | "watch"> {
    // As its owner: a known picture is attached to, an unknown one drawn on.
    return this.generation.isOwn && !this.holdsAll ? this.restartMessage() : this.watchMessage();
  }

  /** True if all rows that were asked for have arrived. */
  get holdsAll(): boolean {
    return this.picture !== undefined && this.picture.rowsHeld >= this.rowsAsked;
  }

  watchMessage(): Message<"watch"> {
    const { stream, image, picture } = this;
    const [rowsHeld, crc32] = [picture?.rowsHeld ?? 0, picture?.checksum ?? 0];
    return { type: "watch", stream, viewKey: this.generation.viewKey, image, rowsHeld, crc32 };
  }

  /** A `start` of this picture alone, with the rows it holds as prefix. */
  private restartMessage(): Message<"start"> {
    const { generation, picture, stream } = this;
    const { key, prompt, options: asked } = generation.asked;
    const options = { ...asked, firstImage: this.image };
    if (picture === undefined)
      options.seed = generation.knownSeed ?? asked.seed;
    else {
      const { model, seed, revision, sampling } = picture;
      const prefix = picture.rowsHeld > 0 ? picture.prefix() : null;
      Object.assign(options, { model: model.name, seed, revision, prefix, ...sampling });
      if (model.sampling.minP.high === 0) options.minP = null; // this server does not know it
    }
    return { type: "start", stream, key: key as Uint8Array, prompt, images: 1, options };
  }

  /** Take `accepted`, of a `model` that was announced. Throws ProtocolError. */
  accept(accepted: Message<"accepted">, model: Model, defaultModel: string): void {
    const { generation } = this;
    if (this.picture === undefined) {
      this.checkBegin(accepted, model, defaultModel);
      const { prompt, options, viewKey } = generation.asked;
      this.picture = new Picture(
        this.index,
        accepted,
        model,
        prompt,
        generation.isOwn ? resolved(options, model) : UNKNOWN_SAMPLING,
        viewKey,
        generation.isOwn,
      );
      if (options.prefix !== null && options.prefix.length > 0) {
        this.picture.addRows(0, options.prefix);
        this.toldRows = this.picture.rowsHeld;
      }
    } else this.checkResumed(accepted, this.picture);
    if (accepted.firstRow !== this.picture.rowsHeld) {
      throw new ProtocolError(
        `row ${accepted.firstRow} follows; ${this.picture.rowsHeld} are held`,
      );
    }
    this.isAnswered = true;
    this.picture.position = accepted.position;
    this.tell("accepted");
  }

  queue(position: number): void {
    this.begun.position = position;
    this.tell("queued");
  }

  addRows(firstRow: number, ids: Uint8Array): void {
    const picture = this.begun;
    picture.addRows(firstRow, ids);
    if (this.generation.isOwn && picture.rowsHeld > this.rowsAsked) {
      throw new ProtocolError(`${picture.rowsHeld} rows, where ${this.rowsAsked} were asked for`);
    }
    this.generation.putOffSince = undefined;
    this.tell("rows");
  }

  /** Take the end. Throws ProtocolError for one that is not what it says. */
  end(done: Message<"done">): void {
    const picture = this.begun;
    const reason = doneReason(done.reason);
    if (done.rows !== picture.rowsHeld || done.crc32 !== picture.checksum) {
      throw new ProtocolError(
        `the picture ended with ${done.rows} rows and a checksum of ${done.crc32}; ` +
          `${picture.rowsHeld} rows of ${picture.checksum} arrived`,
      );
    }
    if (
      (reason === "complete" && done.rows !== picture.rows) ||
      (reason === "stop_row" && this.generation.isOwn && done.rows !== this.rowsAsked)
    ) {
      throw new ProtocolError(
        `the picture ended as ${reason} with ${done.rows} rows, where ${this.rowsAsked} were due`,
      );
    }
    this.finish(reason, done.milliseconds);
  }

  finish(reason: DoneReason, milliseconds: number): void {
    this.hasEnded = true;
    Object.assign(this.begun, { reason, milliseconds });
    this.tell("done");
  }

  fail(error: RequestRefused): void {
    this.hasEnded = true;
    this.error = error;
    if (this.picture !== undefined) this.tell("failed");
    else this.generation.wake();
  }

  /** The event of a kind, of the newest state. */
  event(type: PictureEvent["type"]): PictureEvent {
    const { index } = this;
    const picture = this.begun;
    const { position, rowsHeld, reason } = picture;
    switch (type) {
      case "accepted":
      case "queued":
        return { type, index, picture, position };
      case "rows": {
        const firstRow = this.toldRows;
        this.toldRows = rowsHeld;
        return { type, index, picture, firstRow, count: rowsHeld - firstRow };
      }
      case "done":
        return { type, index, picture, reason: reason as DoneReason };
      case "failed":
        return { type, index, picture, error: this.error as RequestRefused };
    }
  }

  private get begun(): Picture {
    if (this.picture === undefined) {
      throw new ProtocolError(`stream ${this.stream} was not accepted yet`);
    }
    return this.picture;
  }

  private tell(type: PictureEvent["type"]): void {
    this.generation.tell(this, type);
  }

  private checkBegin(accepted: Message<"accepted">, model: Model, defaultModel: string): void {
    const { generation, image } = this;
    const { options } = generation.asked;
    const { rows, cols, idBytes } = model;
    const due: Record<string, unknown> = { image, rows, cols, idBytes };
    if (generation.isOwn) {
      due.model = options.model ?? defaultModel;
      due.seed = generation.knownSeed ?? options.seed ?? accepted.seed;
      if (options.revision && !same(options.revision, accepted.revision)) {
        throw new ProtocolError("the picture is of another revision than was asked for");
      }
    }
    checkFields(accepted, due);
  }

  private checkResumed(accepted: Message<"accepted">, picture: Picture): void {
    if (this.isAnswered) throw new ProtocolError(`stream ${this.stream} was accepted twice`);
    const { model, image, seed, rows, cols, idBytes } = picture;
    checkFields(accepted, { model: model.name, image, seed, rows, cols, idBytes });
    if (!same(accepted.revision, picture.revision)) {
      throw new ProtocolError("the server went on with another revision");
    }
  }
}

function checkFields(accepted: object, due: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(due)) {
    const told = (accepted as Record<string, unknown>)[name];
    if (told !== value) throw new ProtocolError(`${name} ${told} where ${value} was due`);
  }
}

/** The sampling of a request: the model's defaults where nothing is asked for. */
function resolved(options: Options, { sampling }: Model): Sampling {
  return {
    temperature: options.temperature ?? sampling.temperature.default,
    topK: options.topK ?? sampling.topK.default,
    topP: options.topP ?? sampling.topP.default,
    guidance: options.guidance ?? sampling.guidance.default,
    minP: options.minP ?? sampling.minP.default,
  };
}

/** The pictures of one request, as they form; iterate over its events. */
export class Generation implements AsyncIterable<PictureEvent> {
  /** What it is made of, for the session. */
  readonly slots: Slot[];
  /** Called when there is something to take. */
  wake: () => void = () => {};
  /** Called when pictures are to be cancelled, or all of them. */
  onCancel: (slots: Slot[]) => void = () => {};
  /** True once nobody takes events any more. */
  isAbandoned = false;
  // While the server is busy: when it first said so, and when it is asked again.
  putOffSince: number | undefined;
  putOffUntil = 0;
  private ownFailure: RowcastError | undefined;
  private readonly news = new Map<string, [Slot, PictureEvent["type"]]>();

  constructor(
    readonly asked: Asked,
    firstStream: number,
    /** URL of the server's WebSocket, for the link. */
    private readonly url: string,
  ) {
    this.slots = Array.from(
      { length: asked.images },
      (_, index) => new Slot(this, index, firstStream + index),
    );
  }

  /** True if its pictures were asked for here. */
  get isOwn(): boolean {
    return this.asked.key !== undefined;
  }

  get viewKey(): Uint8Array {
    return this.asked.viewKey;
  }

  /** By index; undefined until the server has accepted one. */
  get pictures(): (Picture | undefined)[] {
    return this.slots.map((slot) => slot.picture);
  }

  /** A share link: who has it may watch. */
  get link(): string {
    const { viewKey, images, options } = this.asked;
    return formatShareLink({ url: this.url, viewKey, images, firstImage: options.firstImage });
  }

  /** The seed of its pictures, once one was accepted. */
  get knownSeed(): number | undefined {
    return this.slots.find((slot) => slot.picture !== undefined)?.picture?.seed;
  }

  get unended(): Slot[] {
    return this.slots.filter((slot) => !slot.hasEnded);
  }

  /** True if nothing more will arrive; there may be news to take. */
  get hasEnded(): boolean {
    return this.ownFailure !== undefined || this.unended.length === 0;
  }

  private get failure(): RowcastError | undefined {
    if (this.ownFailure !== undefined || !this.hasEnded) return this.ownFailure;
    return this.slots.find((slot) => slot.error !== undefined)?.error;
  }

  /** True if nobody knows whether the `start` of own pictures has arrived. */
  get isUnanswered(): boolean {
    return this.isOwn && this.knownSeed === undefined;
  }

  /** When what was put off is asked for again; undefined if nothing is. */
  get retryTime(): number | undefined {
    const putOff = this.unended.map((slot) => slot.isPutOff);
    const isDue = this.isUnanswered ? putOff.every(Boolean) : putOff.some(Boolean);
    return putOff.length > 0 && isDue ? this.putOffUntil : undefined;
  }

  /** The `start` of all pictures; the same again draws nothing twice. */
  startMessage(): Message<"start"> {
    const { key, prompt, images, options } = this.asked;
    const { stream } = this.slots[0];
    return { type: "start", stream, key: key as Uint8Array, prompt, images, options };
  }

  /** What takes up all unfinished pictures on a new socket, but those that were put off. */
  resumeMessages(): Message<"start" | "watch">[] {
    if (this.isUnanswered) {
      if (!this.unended.some((slot) => slot.isPutOff)) return [this.startMessage()];
      for (const slot of this.unended) slot.isPutOff = true; // asked for again as one
    }
    return this.unended.filter((slot) => !slot.isPutOff).map((slot) => slot.resumeMessage());
  }

  /** What asks again for what was put off. */
  retryMessages(): Message<"start" | "watch">[] {
    const putOff = this.unended.filter((slot) => slot.isPutOff);
    for (const slot of putOff) slot.isPutOff = slot.isAnswered = false;
    return this.isUnanswered ? [this.startMessage()] : putOff.map((slot) => slot.resumeMessage());
  }

  /**
   * Wait out a refusal that names a time, `wait` milliseconds; false where it is to be told.
   *
   * `patience` is the longest wait in all where no picture has begun, and where one has. It begins
   * anew with rows, and where nothing was put off for as long.
   */
  putOff(slot: Slot, now: number, wait: number, patience: [number, number]): boolean {
    const longest = patience[this.knownSeed === undefined ? 0 : 1];
    let since = this.putOffSince;
    if (since === undefined || now > this.putOffUntil + longest) since = now;
    if (wait === 0 || now + wait > since + longest || this.hasEnded || this.isAbandoned)
      return false;
    this.putOffSince = since;
    const until = now + wait * (1 + MOST_EXTRA_WAIT * Math.random());
    this.putOffUntil = Math.max(this.putOffUntil, until);
    slot.isPutOff = true;
    return true;
  }

  /** Queue an event, unless it is queued: then it will tell the newest state. */
  tell(slot: Slot, type: PictureEvent["type"]): void {
    this.news.set(`${slot.index} ${type}`, this.news.get(`${slot.index} ${type}`) ?? [slot, type]);
    this.wake();
  }

  /** End with an error, once what came before it was taken. */
  fail(error: RowcastError): void {
    if (this.hasEnded) return;
    this.ownFailure = error;
    this.wake();
  }

  /** Cancel all pictures, or one; watched ones are left. Their ends still come. */
  cancel(index?: number): void {
    this.onCancel(this.unended.filter((slot) => index === undefined || slot.index === index));
  }

  /** Cancel all when a signal says so; iterating then throws its reason. */
  endWith(signal: AbortSignal): void {
    const abort = () => {
      this.cancel();
      this.fail(signal.reason);
    };
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
  }

  /** What a page keeps to go on after a reload, as JSON: its key is the owner's secret. */
  save(): SavedGeneration {
    return saved(this);
  }

  /** Events until all pictures have ended; whoever leaves early cancels. */
  async *[Symbol.asyncIterator](): AsyncGenerator<PictureEvent, void, undefined> {
    try {
      for (;;) {
        const [next] = this.news;
        if (next !== undefined) {
          const [name, [slot, type]] = next;
          this.news.delete(name);
          yield slot.event(type);
        } else if (this.failure !== undefined) throw this.failure;
        else if (this.hasEnded) return;
        else {
          await new Promise<void>((resolve) => {
            this.wake = resolve;
          });
        }
      }
    } finally {
      this.cancel();
      this.isAbandoned = true;
      this.wake = () => {};
    }
  }
}
