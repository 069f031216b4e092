/**
 * One WebSocket to a server: frames to and from a session, and its end.
 *
 * Source: protocol.md, R-98 and: what a page sees of a connection, and may do.
 */

import {
  ConnectionFailed,
  ConnectionLost,
  ProtocolError,
  type RowcastError,
} from "./wire/errors.js";
import { encode, type Frame, SUBPROTOCOL } from "./wire/messages.js";
import type { Session } from "./wire/session.js";

const SILENCE = 20_000; // milliseconds until a ping is sent; then as long again
const OPENING = 10_000; // until `welcome`
const LONGEST_TIMER = 2 ** 31 - 1;
const MOST_REASON_BYTES = 123; // RFC 6455 section 5.5
const OPEN = 1; // of WebSocket.readyState
const BROKEN = 1006;

const MEANINGS: Record<number, string> = {
  4403: "the server asks for a valid token",
  4501: "the token has expired",
};

export class Link {
  /** Resolves once `welcome` has come; rejects with why it does not. */
  readonly opened: Promise<unknown>;
  /** Resolves to why it ended. */
  readonly ended: Promise<RowcastError>;
  #end: (why: RowcastError) => void = () => {};
  #hasEnded = false;
  #isAsked = false; // by a ping, since something was heard
  #silence: ReturnType<typeof setTimeout> | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;

  /** Begin to open a `socket`, with the subprotocol, for a session; it says hello by itself. */
  constructor(
    private readonly socket: WebSocket,
    private readonly session: Session,
    token: string | undefined,
    onBytes: (count: number) => void,
  ) {
    const { url } = socket;
    socket.binaryType = "arraybuffer";
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#silence = setTimeout(() => {
      this.#fail(new ConnectionFailed(`${url} does not answer; is it a Rowcast server?`));
    }, OPENING);
    socket.onopen = () => {
      if (socket.protocol === SUBPROTOCOL) this.send([session.hello(token)]);
      else this.#fail(new ConnectionFailed(`${url} does not speak ${SUBPROTOCOL}`, 4406));
    };
    const welcomed = new Promise<void>((resolve) => {
      socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
        if (this.#hasEnded) return;
        onBytes(typeof data === "string" ? data.length : data.byteLength);
        try {
          this.send(session.receive(data));
        } catch (error) {
          this.#fail(error as RowcastError);
          return;
        }
        this.#isAsked = false;
        this.#listen();
        resolve();
      };
    });
    socket.onclose = ({ code, reason }) => this.#finish(meaning(url, session.isOpen, code, reason));
    socket.onerror = () => {
      if (!session.isOpen) this.#finish(meaning(url, false, BROKEN, "")); // Node.js leaves it at that
    };
    const failed = this.ended.then((why) => Promise.reject(why));
    this.opened = Promise.race([welcomed, failed]);
  }

  send(frames: Frame[]): void {
    if (this.socket.readyState !== OPEN) return; // what is not sent is asked for on the next one
    for (const frame of frames) this.socket.send(frame);
    clearTimeout(this.#retry);
    const { retryIn } = this.session;
    if (retryIn === undefined) return;
    const wait = Math.min(retryIn, LONGEST_TIMER);
    this.#retry = setTimeout(() => this.send(this.session.retry()), wait);
  }

  /** Find out whether the other side is still there, as after a sleep. */
  check(): void {
    if (this.#hasEnded || !this.session.isOpen) return;
    this.#isAsked = true;
    this.send([encode({ type: "ping", echo: 0 })]);
    this.#listen();
  }

  close(why: RowcastError, code = 1000): void {
    const words = new TextEncoder().encode(code === 1000 ? "" : why.message);
    const reason = new TextDecoder().decode(words.slice(0, MOST_REASON_BYTES - 2));
    this.#finish(why);
    this.socket.close(code, reason); // whose answer is not waited for
  }

  #fail(error: RowcastError): void {
    const isCoded = error instanceof ProtocolError || error instanceof ConnectionFailed;
    this.close(error, isCoded ? error.closeCode : 1000);
  }

  /** Ask after so long a silence, and give up after as long again. */
  #listen(): void {
    clearTimeout(this.#silence);
    const due = performance.now() + SILENCE;
    this.#silence = setTimeout(() => {
      const hasSlept = performance.now() > due + SILENCE / 2; // frozen, and so was all that came
      if (this.#isAsked && !hasSlept) this.close(new ConnectionLost("the server fell silent"));
      else this.check();
    }, SILENCE);
  }

  #finish(why: RowcastError): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    clearTimeout(this.#silence);
    clearTimeout(this.#retry);
    this.session.isOpen = false;
    this.#end(why);
  }
}

/** What a closed connection means, by its close code (protocol.md, section 7). */
function meaning(url: string, wasOpen: boolean, code: number, reason: string): ConnectionFailed {
  const text = `${MEANINGS[code] ?? "the server closed the connection"} (${code} ${reason})`;
  if (wasOpen) return new ConnectionLost(code === BROKEN ? "the connection broke" : text, code);
  if (code !== BROKEN) return new ConnectionFailed(`${url}: ${text}`, code);
  return new ConnectionFailed(
    `${url} cannot be reached. Is the server there? It may refuse this page (its origin, too many ` +
      "connections), or the browser may (a certificate, the page's own policy, ws from https)",
    code,
  );
}
