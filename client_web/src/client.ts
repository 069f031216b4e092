/** The client: a thin shell over the session, that takes a lost link up again. */

import { Link } from "./link.js";
import { Patience } from "./patience.js";
import {
  ConnectionFailed,
  ConnectionLost,
  ProtocolError,
  type RowcastError,
} from "./wire/errors.js";
import type { Generation } from "./wire/generation.js";
import { type Limits, type Model, mayReconnect } from "./wire/messages.js";
import type { SavedGeneration } from "./wire/saved-generation.js";
import { type Frame, type GenerateRequest, Session } from "./wire/session.js";
import { parseShareLink } from "./wire/share-link.js";

export interface ClientOptions {
  /** What the server's operator gave; a function gives a fresh one for each connection. */
  readonly token?: string | (() => string | Promise<string>);
  /** How long a broken link is taken up again while nothing new comes: 30 if not said. */
  readonly reconnectSeconds?: number;
  /** How long a busy server is asked again where no picture has begun: 0 if not said. */
  readonly waitWhenBusySeconds?: number;
  /** Ends opening, and later the client. */
  readonly signal?: AbortSignal;
  readonly WebSocket?: typeof WebSocket;
}

/** "idle": the link was lost while nothing formed; it is taken up with the next request. */
export type ClientState = "open" | "idle" | "reconnecting" | "closed";

export const VERSION = "0.1.0";
const ATTEMPTS = 3; // before the first `welcome`
const TOKEN_EXPIRED = 4501;

/**
 * A server's client. Several requests may be followed at once, over one connection.
 *
 * Events: "statechange", see `state`.
 */
export class Client extends EventTarget {
  readonly url: URL;
  /** Bytes of the frames that came, of all connections, without their headers. */
  bytesReceived = 0;
  private readonly session: Session;
  private readonly patience: Patience;
  private current: ClientState = "reconnecting";
  private link: Link | undefined;
  private readonly ending = new AbortController();

  private constructor(
    url: string | URL,
    private readonly options: ClientOptions,
  ) {
    super();
    this.url = new URL(url);
    const reconnect = 1_000 * (options.reconnectSeconds ?? 30);
    this.patience = new Patience(reconnect);
    this.session = new Session({
      name: `rowcast-web ${VERSION}`,
      url: this.url.href,
      patience: [1_000 * (options.waitWhenBusySeconds ?? 0), reconnect],
    });
    const { signal } = this.ending;
    globalThis.document?.addEventListener(
      "visibilitychange",
      () => document.hidden || this.link?.check(),
      { signal },
    );
    options.signal?.addEventListener("abort", () => this.close(), { signal });
  }

  /**
   * Open a client. Rejects with ConnectionFailed, which says what may be wrong, ProtocolError, or
   * the signal's reason.
   */
  static async connect(url: string | URL, options: ClientOptions = {}): Promise<Client> {
    options.signal?.throwIfAborted();
    const client = new Client(url, options);
    const waits = new Patience(Number.MAX_VALUE);
    for (let attempt = 1; ; attempt++) {
      try {
        await client.open();
        void client.run();
        return client;
      } catch (error) {
        if (attempt === ATTEMPTS || !client.mayRetry(error)) {
          client.close();
          throw options.signal?.aborted ? options.signal.reason : error;
        }
        await client.pause(waits.wait(0) ?? 0);
      }
    }
  }

  get state(): ClientState {
    return this.current;
  }

  /** What the server draws with; the first is the default. */
  get models(): Model[] {
    return this.session.welcome.models;
  }

  get limits(): Limits {
    return this.session.welcome.limits;
  }

  /**
   * Draw pictures: iterate over their events. Leaving the loop, `cancel` and the signal cancel what
   * has not ended. Throws InvalidRequest, or ConnectionLost where the client is closed.
   */
  generate(request: GenerateRequest & { readonly signal?: AbortSignal }): Generation {
    return this.follow(() => this.session.start(request), request.signal);
  }

  /** Watch pictures by a share link of this server's, or by their view key; as `generate`. */
  watch(
    what:
      | string
      | { readonly viewKey: Uint8Array; readonly firstImage?: number; readonly images?: number },
    options: { readonly signal?: AbortSignal } = {},
  ): Generation {
    const {
      viewKey,
      firstImage = 0,
      images = 1,
    } = typeof what === "string" ? parseShareLink(what) : what;
    return this.follow(() => this.session.watch(viewKey, firstImage, images), options.signal);
  }

  /** Go on with what `Generation.save` gave, after a reload; as `generate`. */
  restore(saved: SavedGeneration, options: { readonly signal?: AbortSignal } = {}): Generation {
    return this.follow(() => this.session.restore(saved), options.signal);
  }

  /** Close the connection: what forms is cancelled, and fails with ConnectionLost. */
  close(): void {
    if (this.current === "closed") return;
    for (const generation of this.session.active) generation.cancel();
    this.ending.abort(new ConnectionLost("the client was closed"));
    this.link?.close();
    this.fail(this.ending.signal.reason);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  private follow(begin: () => [Generation, Frame[]], signal?: AbortSignal): Generation {
    signal?.throwIfAborted();
    if (this.current === "closed") throw new ConnectionLost("the client is closed; make another");
    const [generation, frames] = begin();
    generation.onCancel = (slots) => this.link?.send(this.session.cancel(slots));
    if (signal) generation.endWith(signal);
    if (this.current === "open") this.link?.send(frames);
    else if (this.current === "idle") void this.run();
    return generation;
  }

  /** Take up the link whenever it is lost while something forms, until it is lost for good. */
  private async run(): Promise<void> {
    let failure: RowcastError = new ConnectionLost("the connection was lost");
    try {
      for (;;) {
        if (this.current === "open" && this.link) failure = await this.link.ended;
        if (this.ending.signal.aborted) return;
        if (!this.mayRetry(failure)) throw failure;
        if (this.session.active.length === 0) return this.become("idle");
        this.become("reconnecting");
        await this.openAgain(failure);
      }
    } catch (error) {
      if (!this.ending.signal.aborted) this.fail(error as RowcastError);
    }
  }

  private async openAgain(failure: RowcastError): Promise<void> {
    for (let cause = failure; ; ) {
      const wait = this.patience.wait(this.session.progress);
      if (wait === undefined) {
        throw new ConnectionLost(`${failure.message}; it was not taken up again: ${cause.message}`);
      }
      await this.pause(wait);
      try {
        return await this.open();
      } catch (error) {
        if (!this.mayRetry(error)) throw error;
        cause = error as RowcastError;
      }
    }
  }

  /** A socket after `welcome`, with all that is unfinished asked for on it. */
  private async open(): Promise<void> {
    const { token } = this.options;
    this.link = await Link.open(this.url, this.session, {
      token: typeof token === "function" ? await token() : token,
      WebSocket: this.options.WebSocket ?? WebSocket,
      signal: this.ending.signal,
      onBytes: (count) => {
        this.bytesReceived += count;
      },
    });
    this.link.send(this.session.resume());
    this.become("open");
  }

  /** True if it is worth to come back after this. */
  private mayRetry(error: unknown): boolean {
    if (this.ending.signal.aborted || error instanceof ProtocolError) return false;
    if (!(error instanceof ConnectionFailed)) return false;
    const { closeCode } = error;
    if (closeCode === TOKEN_EXPIRED) return typeof this.options.token === "function";
    return closeCode === undefined || mayReconnect(closeCode);
  }

  private fail(error: RowcastError): void {
    this.become("closed");
    this.ending.abort(error);
    this.session.fail(error);
  }

  private become(state: ClientState): void {
    if (this.current === state) return;
    this.current = state;
    this.dispatchEvent(new Event("statechange"));
  }

  private pause(milliseconds: number): Promise<void> {
    const { signal } = this.ending;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, milliseconds);
      signal.addEventListener(
        "abort",
        () => {
          clearTimeout(timer);
          reject(signal.reason);
        },
        { once: true },
      );
    });
  }
}
