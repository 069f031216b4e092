/** The client: a thin shell over the session, that takes a lost link up again. */

import { Link } from "./link.js";
import { Patience } from "./patience.js";
import {
  ConnectionFailed,
  ConnectionLost,
  InvalidRequest,
  type RowcastError,
} from "./wire/errors.js";
import type { Generation } from "./wire/generation.js";
import { type Frame, type Limits, type Model, mayReconnect, SUBPROTOCOL } from "./wire/messages.js";
import type { GenerateRequest } from "./wire/requests.js";
import type { SavedGeneration } from "./wire/saved-generation.js";
import { Session } from "./wire/session.js";
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

interface Following {
  /** As leaving the loop does, it cancels own pictures and leaves watched ones. */
  readonly signal?: AbortSignal;
}

export const VERSION = "0.1.0";
const ATTEMPTS = 3; // before the first `welcome`
const NO_FAULT = 1000;
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
  readonly #session: Session;
  readonly #patience: Patience;
  #current: ClientState = "reconnecting";
  #link: Link | undefined;
  readonly #ending = new AbortController();

  private constructor(
    url: string | URL,
    private readonly options: ClientOptions,
  ) {
    super();
    this.url = new URL(url);
    const reconnect = 1_000 * (options.reconnectSeconds ?? 30);
    this.#patience = new Patience(reconnect);
    this.#session = new Session({
      name: `rowcast-web ${VERSION}`,
      url: this.url.href,
      patience: [1_000 * (options.waitWhenBusySeconds ?? 0), reconnect],
    });
    const { signal } = this.#ending;
    globalThis.document?.addEventListener(
      "visibilitychange",
      () => document.hidden || this.#link?.check(),
      { signal },
    );
    options.signal?.addEventListener("abort", () => this.close(), { signal });
  }

  /**
   * Open a client for a WebSocket's address. Rejects with InvalidRequest, ConnectionFailed, which
   * says what may be wrong, ProtocolError, or the signal's reason.
   */
  static async connect(url: string | URL, options: ClientOptions = {}): Promise<Client> {
    options.signal?.throwIfAborted();
    if (!/^wss?:\/\/[^#]+$/.test(String(url))) {
      throw new InvalidRequest(`${url} is no WebSocket's address; use wss://host`);
    }
    const client = new Client(url, options);
    const waits = new Patience(Number.POSITIVE_INFINITY);
    let attempts = 1;
    try {
      await client.#openAgain(() => (attempts++ < ATTEMPTS ? waits.wait(0) : undefined));
    } catch (error) {
      client.close();
      throw options.signal?.aborted ? options.signal.reason : error;
    }
    void client.#run();
    return client;
  }

  get state(): ClientState {
    return this.#current;
  }

  /** What the server draws with; the first is the default. */
  get models(): Model[] {
    return this.#session.welcome.models;
  }

  get limits(): Limits {
    return this.#session.welcome.limits;
  }

  /**
   * Draw pictures: iterate over their events. Leaving the loop, `cancel` and the signal cancel what
   * has not ended. Throws InvalidRequest, or ConnectionLost where the client is closed.
   */
  generate(request: GenerateRequest & Following): Generation {
    return this.#follow(() => this.#session.start(request), request);
  }

  /** Watch pictures by a share link of this server's, or by their view key; as `generate`. */
  watch(
    what:
      | string
      | { readonly viewKey: Uint8Array; readonly firstImage?: number; readonly images?: number },
    following: Following = {},
  ): Generation {
    const {
      viewKey,
      firstImage = 0,
      images = 1,
      url = this.url,
    } = typeof what === "string" ? parseShareLink(what) : { ...what, url: undefined };
    if (new URL(url).href !== this.url.href) {
      throw new InvalidRequest(`this link is of ${url}, not of ${this.url}; connect there (R-117)`);
    }
    return this.#follow(() => this.#session.watch(viewKey, firstImage, images), following);
  }

  /** Go on with what `Generation.save` gave, after a reload; as `generate`. */
  restore(saved: SavedGeneration, following: Following = {}): Generation {
    return this.#follow(() => this.#session.restore(saved), following);
  }

  /** Close the connection: what forms is cancelled, and fails with ConnectionLost. */
  close(): void {
    if (this.#current === "closed") return;
    for (const generation of this.#session.active) generation.cancel();
    this.#fail(new ConnectionLost("the client was closed"));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #follow(begin: () => [Generation, Frame[]], { signal }: Following): Generation {
    signal?.throwIfAborted();
    if (this.#current === "closed") throw new ConnectionLost("the client is closed; make another");
    const [generation, frames] = begin();
    generation.onCancel = (slots) => this.#link?.send(this.#session.cancel(slots));
    if (signal) generation.endWith(signal);
    if (this.#current === "open") this.#link?.send(frames);
    else if (this.#current === "idle") void this.#run();
    return generation;
  }

  /** Take up the link whenever it is lost while something forms, until it is lost for good. */
  async #run(): Promise<void> {
    let failure: RowcastError = new ConnectionLost("the connection was lost");
    try {
      for (;;) {
        if (this.#current === "open" && this.#link) failure = await this.#link.ended;
        const isNeeded = this.#session.active.length > 0;
        const hasFault = !(failure instanceof ConnectionLost && failure.closeCode === NO_FAULT);
        if (!this.#mayRetry(failure) && (isNeeded || hasFault)) throw failure;
        if (!isNeeded) return this.#become("idle");
        this.#become("reconnecting");
        await this.#openAgain(() => this.#patience.wait(this.#session.progress), failure);
      }
    } catch (error) {
      this.#fail(error as RowcastError);
    }
  }

  /** Open a socket, again and again as long as there is a `wait`; not at once after a `failure`. */
  async #openAgain(wait: () => number | undefined, failure?: RowcastError): Promise<void> {
    for (let cause = failure; ; ) {
      if (cause !== undefined) {
        const milliseconds = wait();
        if (milliseconds === undefined) {
          if (failure === undefined) throw cause;
          throw new ConnectionLost(`${failure.message}; not taken up again: ${cause.message}`);
        }
        await this.#pause(milliseconds);
      }
      try {
        return await this.#open();
      } catch (error) {
        if (!this.#mayRetry(error)) throw error;
        cause = error as RowcastError;
      }
    }
  }

  /** A socket after `welcome`, with all that is unfinished asked for on it. */
  async #open(): Promise<void> {
    const { token, WebSocket: Socket = WebSocket } = this.options;
    const shown = typeof token === "function" ? await token() : token;
    this.#ending.signal.throwIfAborted();
    this.#link = new Link(new Socket(this.url, SUBPROTOCOL), this.#session, shown, (count) => {
      this.bytesReceived += count;
    });
    await this.#link.opened;
    this.#link.send(this.#session.resume());
    this.#become("open");
  }

  /** True if it is worth to come back after this. */
  #mayRetry(error: unknown): boolean {
    if (this.#ending.signal.aborted || !(error instanceof ConnectionFailed)) return false;
    const { closeCode = 0 } = error;
    if (closeCode === TOKEN_EXPIRED) return typeof this.options.token === "function";
    return mayReconnect(closeCode);
  }

  /** The end: everything that forms fails. */
  #fail(error: RowcastError): void {
    if (this.#current === "closed") return;
    this.#ending.abort(error);
    this.#link?.close(error);
    this.#session.fail(error);
    this.#become("closed");
  }

  #become(state: ClientState): void {
    if (this.#current === state) return;
    this.#current = state;
    this.dispatchEvent(new Event("statechange"));
  }

  #pause(milliseconds: number): Promise<void> {
    const { signal } = this.#ending;
    return new Promise((resolve, reject) => {
      const end = () => reject(signal.reason);
      signal.addEventListener("abort", end);
      setTimeout(() => {
        signal.removeEventListener("abort", end);
        resolve();
      }, milliseconds);
    });
  }
}

/** As `Client.connect`. */
export const connect = Client.connect;
