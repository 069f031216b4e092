/**
 * The client's side of the protocol, without a socket: frames in, events and frames out.
 *
 * One logical connection, which may outlive several sockets: after one is lost, `resume` gives the
 * frames for the next.
 */

import {
  ConnectionFailed,
  ConnectionLost,
  InvalidRequest,
  PictureGone,
  ProtocolError,
  RequestRefused,
  type RowcastError,
} from "./errors.js";
import { type Asked, Generation } from "./generation.js";
import {
  decodeClient,
  decodeServer,
  encode,
  type Frame,
  KEY_BYTES,
  type Limits,
  MAX_SEED,
  MAX_STREAM,
  type Message,
  type Model,
  NO_OPTIONS,
} from "./messages.js";
import { SAMPLING } from "./picture.js";
import { type GenerateRequest, optionsOf } from "./requests.js";
import { readSaved, type SavedGeneration } from "./saved-generation.js";
import type { OfStream, Slot } from "./slot.js";
import { viewKeyOf } from "./view-key.js";

export interface SessionOptions {
  /** Name and version of the client's software, for the server's log. */
  readonly name: string;
  /** URL of the WebSocket, for share links. */
  readonly url: string;
  /** Milliseconds that a busy server is waited for, where no picture has begun and where one has. */
  readonly patience: readonly [number, number];
  /** Milliseconds of a clock that never goes back. */
  readonly clock?: () => number;
}

export class Session {
  /** Grows with every row and every end that arrives, and with every request. */
  progress = 0;
  /** True from `welcome` on, until the socket is lost. */
  isOpen = false;
  readonly #slots = new Map<number, Slot>();
  readonly #clock: () => number;
  #announced: Message<"welcome"> | undefined;
  #isGoingAway = false;

  constructor(private readonly options: SessionOptions) {
    this.#clock = options.clock ?? (() => performance.now());
  }

  /** What the server announced. Throws ConnectionFailed before it has. */
  get welcome(): { readonly limits: Limits; readonly models: Model[] } {
    if (this.#announced === undefined) throw new ConnectionFailed("there is no connection yet");
    return this.#announced;
  }

  /** The generations that have not ended and were not abandoned. */
  get active(): Generation[] {
    const all = new Set([...this.#slots.values()].map(({ generation }) => generation));
    return [...all].filter(({ hasEnded, isAbandoned }) => !hasEnded && !isAbandoned);
  }

  /** The first frame on a socket; `welcome` is then the first to come. */
  hello(token: string | undefined): Frame {
    this.isOpen = this.#isGoingAway = false;
    for (const slot of this.#slots.values()) slot.isAnswered = false;
    return encode({ type: "hello", token: token ?? null, client: this.options.name });
  }

  /**
   * Ask for pictures; returns the frames to send. Throws InvalidRequest for what cannot be sent;
   * what the server does not accept it refuses.
   */
  start(request: GenerateRequest): [Generation, Frame[]] {
    const key = crypto.getRandomValues(new Uint8Array(KEY_BYTES));
    const { prompt, images = 1 } = request;
    return this.#ask({ prompt, images, options: optionsOf(request), key, viewKey: viewKeyOf(key) });
  }

  /** Watch somebody's pictures by their view key; as `start`. */
  watch(viewKey: Uint8Array, firstImage: number, images: number): [Generation, Frame[]] {
    const options = { ...NO_OPTIONS, firstImage };
    return this.#ask({ prompt: "", images, options, key: undefined, viewKey });
  }

  #ask(asked: Asked): [Generation, Frame[]] {
    const generation = this.#open(asked);
    try {
      const frames = generation.startMessages().map(encode);
      for (const frame of frames) decodeClient(frame, this.welcome.limits.clientFrameBytes);
      return [generation, this.#isGoingAway ? [] : frames]; // they are for the next socket
    } catch (error) {
      this.#forget(generation.slots);
      throw new InvalidRequest(`this cannot be asked for: ${(error as Error).message}`);
    }
  }

  /** Go on with what was saved; as `start`. Throws InvalidRequest. */
  restore(saved: SavedGeneration): [Generation, Frame[]] {
    const [asked, came] = readSaved(saved);
    const generation = this.#open(asked);
    try {
      for (const message of came) {
        generation.slots[message.stream].take(message, this.welcome.models);
      }
    } catch (error) {
      this.#forget(generation.slots);
      throw new InvalidRequest(`this server cannot go on: ${(error as Error).message}`);
    }
    for (const slot of generation.slots) {
      slot.isAnswered = false;
      if (slot.hasEnded) this.#forget([slot]);
    }
    const frames = this.#frames(generation, generation.resumeMessages());
    return [generation, this.#isGoingAway ? [] : frames];
  }

  /**
   * The frames that end pictures: own ones are cancelled, watched ones left. Those that no server
   * knows end here; where there is no link now, the next one is told.
   */
  cancel(slots: Slot[]): Frame[] {
    const open = slots.filter((slot) => !slot.isCancelled && this.#slots.get(slot.stream) === slot);
    for (const slot of open) slot.isCancelled = true;
    const asked = open.filter(({ isPutOff }) => !isPutOff);
    for (const { generation } of open) this.#dropCancelled(generation);
    return asked.flatMap((slot) => slot.cancelMessages()).map(encode);
  }

  /** The frames that take up every unfinished picture on a new socket, after `welcome`. */
  resume(): Frame[] {
    const left = [...this.#slots.values()].filter(
      ({ generation }) => generation.isAbandoned || generation.hasEnded,
    );
    this.#forget(left);
    if (this.#isGoingAway) return [];
    return this.active.flatMap((each) => this.#frames(each, each.resumeMessages()));
  }

  /** Milliseconds until `retry` has something to send; undefined if nothing waits. */
  get retryIn(): number | undefined {
    const times = this.active.flatMap(({ retryTime }) => retryTime ?? []);
    if (times.length === 0 || this.#isGoingAway || !this.isOpen) return undefined;
    return Math.max(0, Math.min(...times) - this.#clock());
  }

  /** The frames that ask again for what a busy server put off, if their time has come. */
  retry(): Frame[] {
    if (this.retryIn !== 0) return [];
    const now = this.#clock();
    const due = this.active.filter(({ retryTime }) => retryTime !== undefined && retryTime <= now);
    return due.flatMap((each) => this.#frames(each, each.retryMessages()));
  }

  /** Fail every unfinished generation: the connection is lost for good. */
  fail(error: RowcastError): void {
    for (const generation of this.active) generation.fail(error);
    this.#slots.clear();
  }

  /** Take a frame; returns frames to send. Throws ProtocolError. */
  receive(data: string | ArrayBuffer): Frame[] {
    if (typeof data === "string") throw new ProtocolError("a text frame came");
    const message = decodeServer(new Uint8Array(data));
    if ((message?.type === "welcome") === this.isOpen) {
      throw new ProtocolError(this.isOpen ? "a second welcome" : "no welcome came first");
    }
    switch (message?.type) {
      case "welcome":
        message.models.forEach(checkAnnounced);
        this.isOpen = true;
        this.#announced = message;
        break;
      case "ping":
        return [encode({ type: "pong", echo: message.echo })];
      case "goaway":
        this.#isGoingAway = true;
        break;
      case "error":
        if (message.stream === null) {
          // The frame was right, and ends the connection.
          throw new ProtocolError(`the server reports: ${message.text} [${message.code}]`, 1000);
        }
        this.#take(this.#slots.get(message.stream), message);
        break;
      case "accepted":
      case "queued":
      case "rows":
      case "done":
        this.#take(this.#slots.get(message.stream), message);
    }
    return [];
  }

  #take(slot: Slot | undefined, message: OfStream | Message<"error">): void {
    if (slot === undefined || slot.isPutOff) return; // it crossed our leaving
    if (message.type === "error") this.#refused(slot, message);
    else slot.take(message, this.welcome.models);
    if (message.type === "rows" || slot.hasEnded) this.progress++;
    if (slot.hasEnded) this.#forget([slot]);
  }

  #refused(slot: Slot, { code, retryMs, text }: Message<"error">): void {
    const { generation, picture } = slot;
    if (code === "gone" && picture && slot.holdsAll) {
      slot.finish(picture.rowsHeld === picture.rows ? "complete" : "stop_row");
      return;
    }
    if (generation.waitsOut(slot, this.#clock(), retryMs, this.options.patience)) {
      this.#dropCancelled(generation);
      return;
    }
    if (slot.isCancelled) {
      slot.drop();
      return;
    }
    const Refusal = code === "gone" ? PictureGone : RequestRefused;
    const error = new Refusal(`${text || code} [${code}]`, code, retryMs);
    if (generation.isUnanswered) generation.fail(error); // its `start` is refused
    slot.fail(error);
  }

  /** End what was cancelled while it was put off: no server knows it. */
  #dropCancelled(generation: Generation): void {
    const { unended } = generation;
    const cancelled = unended.filter(({ isPutOff, isCancelled }) => isPutOff && isCancelled);
    // What is asked for again as one takes all its streams.
    if (generation.isUnanswered && cancelled.length < unended.length) return;
    for (const slot of cancelled) slot.drop();
    this.#forget(cancelled);
  }

  /** Messages as frames; a generation that the server cannot take fails. */
  #frames(generation: Generation, messages: Message[]): Frame[] {
    const frames = messages.map(encode);
    const most = this.welcome.limits.clientFrameBytes;
    if (frames.every(({ length }) => length <= most)) return frames;
    generation.fail(new ConnectionLost(`this server takes no more than ${most} bytes`));
    this.#forget(generation.slots);
    return [];
  }

  #open(asked: Asked): Generation {
    const { streams } = this.welcome.limits;
    if (!(Number.isInteger(asked.images) && asked.images >= 1 && asked.images <= streams)) {
      throw new InvalidRequest(
        `images must be a whole number from 1 to ${streams}, not ${asked.images}`,
      );
    }
    this.progress++;
    const generation = new Generation(asked, this.#freeStreams(asked.images), this.options.url);
    for (const slot of generation.slots) this.#slots.set(slot.stream, slot);
    return generation;
  }

  #forget(slots: Slot[]): void {
    for (const slot of slots) {
      if (this.#slots.get(slot.stream) === slot) this.#slots.delete(slot.stream);
    }
  }

  /** The first of so many streams that are free, one after the other. */
  #freeStreams(count: number): number {
    for (let first = 0, free = 0; first + free <= MAX_STREAM; free++) {
      if (this.#slots.has(first + free)) [first, free] = [first + free + 1, -1];
      else if (free + 1 === count) return first;
    }
    throw new InvalidRequest("too many pictures are under way");
  }
}

/** Throws ProtocolError where what a server announced cannot be. */
function checkAnnounced({ name, codebookSize, idBytes, sampling }: Model): void {
  const numbers = SAMPLING.flatMap((each) => Object.values(sampling[each]));
  const topK = sampling.topK.default;
  const isTopK = Number.isInteger(topK) && topK >= 0 && topK <= MAX_SEED;
  if (idBytes !== (codebookSize > 65_536 ? 4 : 2) || !numbers.every(Number.isFinite) || !isTopK) {
    throw new ProtocolError(`${name} cannot be as announced`);
  }
}
