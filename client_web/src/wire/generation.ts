/**
 * The pictures of one request as they form: the messages that ask for them, and their events.
 *
 * What arrived is handed out coalesced: who paints slowly sees fewer, larger steps, always of the
 * newest state. Knows nothing of frames or sockets.
 */

import type { Message, Options } from "./messages.js";
import type { Picture } from "./picture.js";
import { type SavedGeneration, saved } from "./saved-generation.js";
import { formatShareLink } from "./share-link.js";
import { type PictureEvent, Slot } from "./slot.js";

/** A request as it was made. */
export interface Asked {
  readonly prompt: string;
  readonly images: number;
  readonly options: Options;
  /** The owner's key; undefined where somebody else's pictures are watched. */
  readonly key: Uint8Array | undefined;
  readonly viewKey: Uint8Array;
}

type FromClient = Message<"start" | "watch" | "cancel">;

const MOST_EXTRA_WAIT = 0.25; // of the wait that a busy server asks for: clients come back apart

/** The pictures of one request, as they form; iterate over its events, in one loop. */
export class Generation implements AsyncIterable<PictureEvent> {
  /** What it is made of, for the session. */
  readonly slots: Slot[];
  /** Called when there is something to take. */
  wake: () => void = () => {};
  /** Called when pictures are to be cancelled. */
  onCancel: (slots: Slot[]) => void = () => {};
  /** True once nobody takes events any more. */
  isAbandoned = false;
  // While the server is busy: when it first said so, and when it is asked again.
  #putOffSince: number | undefined;
  #putOffUntil = 0;
  #ownFailure: unknown;
  readonly #news = new Map<string, () => PictureEvent>();
  readonly #ending = new AbortController();

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

  /** By index; undefined until the server has accepted one. */
  get pictures(): (Picture | undefined)[] {
    return this.slots.map(({ picture }) => picture);
  }

  /** A share link: who has it may watch. Throws InvalidRequest for a URL that no link can hold. */
  get link(): string {
    const { viewKey, images, options } = this.asked;
    return formatShareLink({ url: this.url, viewKey, images, firstImage: options.firstImage });
  }

  /** The seed of its pictures, once one was accepted. */
  get knownSeed(): number | undefined {
    return this.pictures.find(Boolean)?.seed;
  }

  get unended(): Slot[] {
    return this.slots.filter(({ hasEnded }) => !hasEnded);
  }

  get #putOff(): Slot[] {
    return this.unended.filter(({ isPutOff }) => isPutOff);
  }

  /** True if nothing more will arrive; there may be news to take. */
  get hasEnded(): boolean {
    return this.#ownFailure !== undefined || this.unended.length === 0;
  }

  /** True if nobody knows whether the `start` of own pictures has arrived. */
  get isUnanswered(): boolean {
    return this.isOwn && this.knownSeed === undefined;
  }

  /** When what was put off is asked for again; undefined if nothing is. */
  get retryTime(): number | undefined {
    const { unended } = this;
    const putOff = this.#putOff;
    // A request of which nothing was accepted is asked for as one, once all of it was put off.
    const isDue = this.isUnanswered ? putOff.length === unended.length : true;
    return putOff.length > 0 && isDue ? this.#putOffUntil : undefined;
  }

  /**
   * What was asked for, with what the server chose for a picture, or for any, and the rows that it
   * holds as prefix.
   */
  stated(picture?: Picture): Options {
    const { options } = this.asked;
    const known = picture ?? this.pictures.find(Boolean);
    if (known === undefined) return options;
    const { model, seed, revision, sampling } = known;
    const prefix = picture ? picture.prefix() : options.prefix;
    return { ...options, model: model.name, seed, revision, ...sampling, prefix };
  }

  /** What asks for all pictures; the same again draws nothing twice. */
  startMessages(): FromClient[] {
    const { key, prompt, images, options } = this.asked;
    if (key === undefined) return this.slots.map((slot) => slot.resumeMessage());
    return [{ type: "start", stream: this.slots[0].stream, key, prompt, images, options }];
  }

  /** What takes up all unfinished pictures on a new socket, but those that were put off. */
  resumeMessages(): FromClient[] {
    const { unended } = this;
    const putOff = this.#putOff;
    if (!this.isUnanswered) return asking(unended.filter((slot) => !slot.isPutOff));
    if (putOff.length === 0) return [...this.startMessages(), ...cancelling(unended)];
    for (const slot of unended) slot.isPutOff = true; // asked for again as one
    return [];
  }

  /** What asks again for what was put off. */
  retryMessages(): FromClient[] {
    const putOff = this.#putOff;
    for (const slot of putOff) slot.isPutOff = slot.isAnswered = false;
    return this.isUnanswered ? [...this.startMessages(), ...cancelling(putOff)] : asking(putOff);
  }

  /**
   * Wait out a refusal that names a time, `wait` milliseconds; false where it is to be told.
   *
   * `patience` is the longest wait in all where no picture has begun, and where one has. It begins
   * anew with rows, and where nothing was put off for as long.
   */
  waitsOut(slot: Slot, now: number, wait: number, patience: readonly [number, number]): boolean {
    const longest = patience[this.knownSeed === undefined ? 0 : 1];
    let since = this.#putOffSince;
    if (since === undefined || now > this.#putOffUntil + longest) since = now;
    const isOver = wait === 0 || now + wait > since + longest;
    if (isOver || this.hasEnded || this.isAbandoned) return false;
    this.#putOffSince = since;
    const until = now + wait * (1 + MOST_EXTRA_WAIT * Math.random());
    this.#putOffUntil = Math.max(this.#putOffUntil, until);
    slot.isPutOff = true;
    return true;
  }

  /** Queue an event, unless it is queued: then it will tell the newest state. */
  tell(slot: Slot, type: PictureEvent["type"]): void {
    if (type === "rows") this.#putOffSince = undefined;
    const name = slot.index + type;
    if (!this.#news.has(name)) this.#news.set(name, () => slot.event(type));
    this.wake();
  }

  /** End with an error, once what came before it was taken. */
  fail(error: unknown): void {
    if (this.hasEnded) return;
    this.#ownFailure = error;
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
    signal.addEventListener("abort", abort, { signal: this.#ending.signal });
  }

  /** What a page keeps to go on after a reload, as JSON: it holds the key, the owner's secret. */
  save(): SavedGeneration {
    return saved(this);
  }

  /**
   * Events until all pictures have ended; whoever leaves early cancels. Throws the error that ended
   * all of them, or, once all have ended, that of the first that failed.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<PictureEvent, void, undefined> {
    try {
      while (!this.isAbandoned) {
        const [next] = this.#news;
        if (next) {
          this.#news.delete(next[0]);
          yield next[1]();
        } else if (this.hasEnded) {
          const failure = this.#ownFailure ?? this.slots.find(({ error }) => error)?.error;
          if (failure) throw failure;
          return;
        } else {
          await new Promise<void>((resolve) => {
            this.wake = resolve;
          });
        }
      }
    } finally {
      this.cancel();
      this.isAbandoned = true;
      this.#ending.abort();
    }
  }
}

/** What asks for pictures, and cancels those that were cancelled meanwhile. */
function asking(slots: Slot[]): FromClient[] {
  return [...slots.map((slot) => slot.resumeMessage()), ...cancelling(slots)];
}

function cancelling(slots: Slot[]): FromClient[] {
  return slots.flatMap((slot) => slot.cancelMessages());
}
