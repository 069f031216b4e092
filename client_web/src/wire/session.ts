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
import { type Asked, Generation, type Slot, viewKeyOf } from "./generation.js";
import { Malformed } from "./message-pack.js";
import {
  decodeServer,
  encode,
  KEY_BYTES,
  type Limits,
  MAX_SEED,
  MAX_STREAM,
  type Message,
  type Model,
  NO_OPTIONS,
  type Options,
  type Range,
  TooLong,
} from "./messages.js";
import { askedOf, type SavedGeneration, takeSaved } from "./saved-generation.js";

export type Frame = Uint8Array<ArrayBuffer>;
type OfStream = Message<"accepted" | "queued" | "rows" | "done" | "error">;

export interface SessionOptions {
  /** Name and version of the client's software, for the server's log. */
  readonly name: string;
  /** URL of the WebSocket, for share links. */
  readonly url: string;
  /** Milliseconds that a busy server is waited for, where no picture has begun and where one has. */
  readonly patience: [number, number];
  /** Milliseconds of a clock that never goes back. */
  readonly clock?: () => number;
}

/** What `generate` takes; what is left out is the server's choice. */
export interface GenerateRequest {
  readonly prompt: string;
  /** From 1 to the server's limit. */
  readonly images?: number;
  /** 0 … 2³²−1. */
  readonly seed?: number;
  readonly firstImage?: number;
  readonly model?: string;
  /** Draw only if the model has this revision. */
  readonly revision?: Uint8Array;
  readonly temperature?: number;
  /** 0 keeps all. */
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly guidance?: number;
  /** Draw only so many rows. */
  readonly stopRow?: number;
  /** Ids of whole rows to go on from, as of `Picture.prefix`. */
  readonly prefix?: Uint8Array;
}

const SAMPLING = ["temperature", "topK", "topP", "guidance", "minP"] as const;

export class Session {
  /** Grows with every row and every end that arrives, and with every request. */
  progress = 0;
  private readonly slots = new Map<number, Slot>();
  private readonly clock: () => number;
  private announced: Message<"welcome"> | undefined;
  private isGreeted = false;
  private isGoingAway = false;

  constructor(private readonly options: SessionOptions) {
    this.clock = options.clock ?? (() => performance.now());
  }

  /** What the server announced. Throws ConnectionFailed before it has. */
  get welcome(): { readonly limits: Limits; readonly models: Model[] } {
    if (this.announced === undefined) throw new ConnectionFailed("there is no connection yet");
    return this.announced;
  }

  /** True once `welcome` has come on this socket. */
  get isOpen(): boolean {
    return this.isGreeted;
  }

  /** The generations that have not ended and were not abandoned. */
  get active(): Generation[] {
    const all = new Set([...this.slots.values()].map((slot) => slot.generation));
    return [...all].filter((generation) => !generation.isAbandoned);
  }

  /** The first frame on a socket; `welcome` is then the first to come. */
  hello(token: string | undefined): Frame {
    this.isGreeted = this.isGoingAway = false;
    for (const slot of this.slots.values()) slot.isAnswered = false;
    return encode({ type: "hello", token: token ?? null, client: this.options.name });
  }

  /** The socket is lost. */
  lost(): void {
    this.isGreeted = false;
  }

  /** Ask for pictures; returns the frames to send. Throws InvalidRequest. */
  start(request: GenerateRequest): [Generation, Frame[]] {
    const options = checked(request, this.welcome);
    const key = crypto.getRandomValues(new Uint8Array(KEY_BYTES));
    const { prompt, images = 1 } = request;
    const generation = this.open({ prompt, images, options, key, viewKey: viewKeyOf(key) });
    const frame = encode(generation.startMessage());
    const { clientFrameBytes } = this.welcome.limits;
    if (frame.length > clientFrameBytes) {
      this.forget(generation);
      throw new InvalidRequest(
        `prompt and prefix take ${frame.length} bytes; the server takes at most ${clientFrameBytes}`,
      );
    }
    return [generation, this.isGoingAway ? [] : [frame]];
  }

  /** Watch somebody's pictures by their view key; as `start`. */
  watch(viewKey: Uint8Array, firstImage: number, images: number): [Generation, Frame[]] {
    if (viewKey.length !== KEY_BYTES) {
      throw new InvalidRequest(`a view key has ${KEY_BYTES} bytes, not ${viewKey.length}`);
    }
    whole("images", images, 1, this.welcome.limits.streams);
    const options = { ...NO_OPTIONS, firstImage };
    const generation = this.open({ prompt: "", images, options, key: undefined, viewKey });
    return [generation, generation.slots.map((slot) => encode(slot.watchMessage()))];
  }

  /** Go on with what was saved; as `start`. Throws InvalidRequest. */
  restore(saved: SavedGeneration): [Generation, Frame[]] {
    const generation = this.open(askedOf(saved));
    try {
      takeSaved(generation, saved, this.welcome.models);
    } catch (error) {
      this.forget(generation);
      throw error instanceof ProtocolError ? new InvalidRequest(error.message) : error;
    }
    for (const slot of generation.slots) if (slot.hasEnded) this.slots.delete(slot.stream);
    return [generation, this.isGoingAway ? [] : generation.resumeMessages().map(encode)];
  }

  /** The frames that end pictures: own ones are cancelled, watched ones left. */
  cancel(slots: Slot[]): Frame[] {
    const own = slots.filter((slot) => this.slots.get(slot.stream) === slot);
    const open = own.filter((slot) => {
      if (!slot.isPutOff) return true;
      slot.fail(new RequestRefused("it was cancelled while it waited for a busy server", "busy"));
      this.slots.delete(slot.stream);
      return false;
    });
    return open.map(({ stream }) => encode({ type: "cancel", stream }));
  }

  /** The frames that take up every unfinished picture on a new socket, after `hello`. */
  resume(): Frame[] {
    for (const { stream, generation } of [...this.slots.values()]) {
      if (generation.isAbandoned || generation.hasEnded) this.slots.delete(stream);
    }
    const { clientFrameBytes } = this.welcome.limits;
    return this.active.flatMap((generation) => {
      const frames = generation.resumeMessages().map(encode);
      if (frames.every((frame) => frame.length <= clientFrameBytes)) return frames;
      generation.fail(
        new ConnectionLost(`the next server takes ${clientFrameBytes} bytes, too few`),
      );
      this.forget(generation); // another server than before
      return [];
    });
  }

  /** Milliseconds until `retry` has something to send; undefined if nothing waits. */
  get retryIn(): number | undefined {
    const times = this.active
      .map(({ retryTime }) => retryTime)
      .filter((time) => time !== undefined);
    if (times.length === 0 || this.isGoingAway || !this.isGreeted) return undefined;
    return Math.max(0, Math.min(...times) - this.clock());
  }

  /** The frames that ask again for what a busy server put off, if their time has come. */
  retry(): Frame[] {
    if (this.retryIn !== 0) return [];
    const now = this.clock();
    const due = this.active.filter(({ retryTime }) => retryTime !== undefined && retryTime <= now);
    return due.flatMap((generation) => generation.retryMessages().map(encode));
  }

  /** Fail every unfinished generation: the connection is lost for good. */
  fail(error: RowcastError): void {
    for (const generation of this.active) generation.fail(error);
    this.slots.clear();
  }

  /** Take a frame; returns frames to send. Throws ProtocolError. */
  receive(data: string | ArrayBuffer): Frame[] {
    if (typeof data === "string") throw new ProtocolError("the server sent a text frame");
    let message: ReturnType<typeof decodeServer>;
    try {
      message = decodeServer(new Uint8Array(data));
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      throw new ProtocolError(error.message, error instanceof TooLong ? 4413 : 4400);
    }
    if ((message?.type === "welcome") === this.isGreeted) {
      throw new ProtocolError(this.isGreeted ? "a second welcome" : "no welcome came first");
    }
    switch (message?.type) {
      case "welcome":
        for (const model of message.models) checkAnnounced(model);
        this.isGreeted = true;
        this.announced = message;
        break;
      case "ping":
        return [encode({ type: "pong", echo: message.echo })];
      case "goaway":
        this.isGoingAway = true;
        break;
      case "error":
        if (message.stream === null) {
          // The frame was right, and ends the connection.
          throw new ProtocolError(`the server reports: ${message.text} [${message.code}]`, 1000);
        }
        this.take(this.slots.get(message.stream), message);
        break;
      case "accepted":
      case "queued":
      case "rows":
      case "done":
        this.take(this.slots.get(message.stream), message);
    }
    return [];
  }

  private take(slot: Slot | undefined, message: OfStream): void {
    if (slot === undefined) return; // it crossed our leaving
    switch (message.type) {
      case "accepted": {
        const { models } = this.welcome;
        const model = models.find(({ name }) => name === message.model);
        if (model === undefined) {
          throw new ProtocolError(`a picture by ${message.model}, which was not announced`);
        }
        slot.accept(message, model, models[0].name);
        break;
      }
      case "queued":
        slot.queue(message.position);
        break;
      case "rows":
        slot.addRows(message.firstRow, message.ids);
        this.progress++;
        break;
      case "done":
        slot.end(message);
        this.slots.delete(slot.stream);
        this.progress++;
        break;
      case "error":
        this.refused(slot, message);
    }
  }

  private refused(slot: Slot, { code, retryMs, text }: Message<"error">): void {
    const { generation, picture } = slot;
    if (code === "gone" && picture !== undefined && slot.holdsAll) {
      // Only the end was lost.
      this.slots.delete(slot.stream);
      const isWhole = picture.rowsHeld === picture.rows;
      slot.finish(isWhole ? "complete" : "stop_row", picture.milliseconds);
      return;
    }
    if (generation.putOff(slot, this.clock(), retryMs, this.options.patience)) return;
    this.slots.delete(slot.stream);
    this.progress++;
    const Refusal = code === "gone" ? PictureGone : RequestRefused;
    const error = new Refusal(`${text || code} [${code}]`, code, retryMs);
    if (generation.isUnanswered) generation.fail(error); // its `start` is refused
    slot.fail(error);
  }

  private open(asked: Asked): Generation {
    this.progress++;
    const generation = new Generation(asked, this.freeStreams(asked.images), this.options.url);
    for (const slot of generation.slots) this.slots.set(slot.stream, slot);
    return generation;
  }

  private forget(generation: Generation): void {
    for (const { stream } of generation.slots) this.slots.delete(stream);
  }

  /** The first of so many streams that are free, one after the other. */
  private freeStreams(count: number): number {
    for (let first = 0; first + count <= MAX_STREAM + 1; first++) {
      let free = 0;
      while (free < count && !this.slots.has(first + free)) free++;
      if (free === count) return first;
      first += free;
    }
    throw new InvalidRequest("too many pictures are under way");
  }
}

/** The options of a request. Throws InvalidRequest for what this server cannot accept. */
function checked(
  request: GenerateRequest,
  { limits, models }: { limits: Limits; models: Model[] },
): Options {
  const { prompt, images = 1, firstImage = 0, stopRow, seed } = request;
  const model = request.model === undefined ? models[0] : named(models, request.model);
  if (typeof prompt !== "string" || prompt.trim() === "") {
    throw new InvalidRequest("the prompt is empty");
  }
  const size = new TextEncoder().encode(prompt).length;
  if (size > limits.promptBytes) {
    throw new InvalidRequest(
      `the prompt has ${size} bytes; the server takes at most ${limits.promptBytes}`,
    );
  }
  whole("images", images, 1, limits.images);
  whole("firstImage", firstImage, 0, MAX_STREAM - images + 1);
  if (seed !== undefined) whole("seed", seed, 0, MAX_SEED);
  if (stopRow !== undefined) whole("stopRow", stopRow, 1, model.rows);
  if (request.revision !== undefined && request.revision.length !== 8) {
    throw new InvalidRequest(`revision has 8 bytes, not ${request.revision.length}`);
  }
  const sampling: Partial<Record<(typeof SAMPLING)[number], number | null>> = {};
  for (const name of SAMPLING) {
    const value = request[name];
    sampling[name] = value ?? null;
    if (value === undefined) continue;
    if (name === "topK") whole(name, value, 0, MAX_SEED);
    const { low, high }: Range = model.sampling[name];
    if (!(value >= low && value <= high)) {
      throw new InvalidRequest(`${name} must be from ${low} to ${high}, not ${value}`);
    }
  }
  return {
    ...NO_OPTIONS,
    ...sampling,
    firstImage,
    model: request.model ?? null,
    seed: seed ?? null,
    stopRow: stopRow ?? null,
    prefix: request.prefix?.length ? request.prefix : null,
    revision: request.revision ?? null,
  };
}

function named(models: Model[], name: string): Model {
  const found = models.find((model) => model.name === name);
  if (found === undefined) {
    const names = models.map((model) => model.name).join(", ");
    throw new InvalidRequest(`there is no model ${name}; the server has ${names}`);
  }
  return found;
}

function whole(name: string, value: number, low: number, high: number): void {
  if (!Number.isInteger(value) || value < low || value > high) {
    throw new InvalidRequest(`${name} must be a whole number from ${low} to ${high}, not ${value}`);
  }
}

/** Throws ProtocolError where what a server announced cannot be. */
function checkAnnounced({ name, codebookSize, idBytes, sampling }: Model): void {
  const numbers = SAMPLING.flatMap((each) => Object.values(sampling[each]));
  const topK = sampling.topK.default;
  if (
    idBytes !== (codebookSize > 65_536 ? 4 : 2) ||
    !numbers.every(Number.isFinite) ||
    !(Number.isInteger(topK) && topK >= 0 && topK <= MAX_SEED)
  ) {
    throw new ProtocolError(`${name} was announced with what cannot be`);
  }
}
