/** One WebSocket to a server, from `hello` on: frames to and from a session, and its end. */

import {
  ConnectionFailed,
  ConnectionLost,
  ProtocolError,
  type RowcastError,
} from "./wire/errors.js";
import { encode, SUBPROTOCOL } from "./wire/messages.js";
import type { Frame, Session } from "./wire/session.js";

export interface LinkOptions {
  readonly token: string | undefined;
  readonly WebSocket: typeof WebSocket;
  readonly signal: AbortSignal;
  readonly onBytes: (count: number) => void;
}

const SILENCE = 20_000; // milliseconds until a ping is sent; then as long again
const OPENING = 10_000; // until `welcome`
const MOST_REASON_BYTES = 123; // RFC 6455 section 5.5
const BROKEN = 1006;

const MEANINGS: Record<number, string> = {
  4403: "the server asks for a valid token",
  4406: "the server speaks another version of the protocol",
  4413: "a message was larger than the server takes",
  4501: "the token has expired",
  4508: "the server closed the connection: this client read too slowly",
  4529: "the server asks to slow down",
};

export class Link {
  /** Resolves to why it ended. */
  readonly ended: Promise<RowcastError>;
  private end: (why: RowcastError) => void = () => {};
  private hasEnded = false;
  private heard = performance.now();
  private isAsked = false; // by a ping, since something was heard
  private silence: ReturnType<typeof setTimeout> | undefined;
  private retry: ReturnType<typeof setTimeout> | undefined;

  private constructor(
    private readonly socket: WebSocket,
    private readonly session: Session,
  ) {
    this.ended = new Promise((resolve) => {
      this.end = resolve;
    });
  }

  /** Open a socket; resolves once `welcome` has come. Rejects with ConnectionFailed, ProtocolError,
   * or the signal's reason. */
  static async open(url: URL, session: Session, options: LinkOptions): Promise<Link> {
    options.signal.throwIfAborted();
    const socket = new options.WebSocket(url, SUBPROTOCOL);
    socket.binaryType = "arraybuffer";
    const link = new Link(socket, session);
    const abort = () => link.close();
    options.signal.addEventListener("abort", abort);
    const timer = setTimeout(() => {
      link.finish(new ConnectionFailed(`${url.href} does not answer; is it a Rowcast server?`));
    }, OPENING);
    try {
      await link.greet(url, options);
      return link;
    } finally {
      clearTimeout(timer);
      options.signal.removeEventListener("abort", abort);
    }
  }

  send(frames: Frame[]): void {
    if (this.socket.readyState !== 1) return; // what is not sent is asked for on the next socket
    for (const frame of frames) this.socket.send(frame);
  }

  /** Find out whether the other side is still there, as after a sleep. */
  check(): void {
    this.isAsked = true;
    this.send([encode({ type: "ping", echo: 0 })]);
    this.watch(SILENCE);
  }

  close(code = 1000, reason = ""): void {
    const words = new TextEncoder().encode(reason).slice(0, MOST_REASON_BYTES);
    this.socket.close(code, new TextDecoder("utf-8").decode(words).replace(/\uFFFD+$/, ""));
    this.finish(new ConnectionLost("the client was closed"));
  }

  /** Say hello, and wait for `welcome`. */
  private greet(url: URL, { token, onBytes, signal }: LinkOptions): Promise<void> {
    const { socket, session } = this;
    return new Promise((resolve, reject) => {
      void this.ended.then((why) => reject(signal.aborted ? signal.reason : why));
      socket.onopen = () => {
        if (socket.protocol === SUBPROTOCOL) this.send([session.hello(token)]);
        else this.fail(new ConnectionFailed(`${url.href} does not speak ${SUBPROTOCOL}`, 4406));
      };
      socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
        if (this.hasEnded) return;
        onBytes(typeof data === "string" ? data.length : data.byteLength);
        this.heard = performance.now();
        this.isAsked = false;
        try {
          this.send(session.receive(data));
        } catch (error) {
          this.fail(error as RowcastError);
          return;
        }
        if (session.isOpen) {
          this.watch(SILENCE);
          resolve();
        }
        this.schedule();
      };
      socket.onclose = ({ code, reason }) =>
        this.finish(failure(url, session.isOpen, code, reason));
    });
  }

  /** Ask again for what a busy server put off, when its time comes. */
  private schedule(): void {
    clearTimeout(this.retry);
    const { retryIn } = this.session;
    if (retryIn === undefined) return;
    this.retry = setTimeout(() => {
      this.send(this.session.retry());
      this.schedule();
    }, retryIn);
  }

  private watch(milliseconds: number): void {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => {
      const passed = performance.now() - this.heard;
      if (passed < SILENCE && !this.isAsked) this.watch(SILENCE - passed);
      else if (this.isAsked) {
        this.socket.close(); // whose answer is not waited for
        this.finish(new ConnectionLost("the server does not answer any more"));
      } else this.check();
    }, milliseconds);
  }

  private fail(error: RowcastError): void {
    const code =
      error instanceof ProtocolError || error instanceof ConnectionFailed
        ? (error.closeCode ?? 1000)
        : 1000;
    this.finish(error);
    this.close(code, code === 1000 ? "" : error.message);
  }

  private finish(why: RowcastError): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    clearTimeout(this.silence);
    clearTimeout(this.retry);
    this.session.lost();
    this.end(why);
  }
}

/** What a closed connection means, by its close code (protocol.md, section 7). */
function failure(url: URL, wasOpen: boolean, code: number, reason: string): ConnectionFailed {
  const why = reason ? `: ${reason}` : "";
  const meaning = `${MEANINGS[code] ?? "the server closed it"} (close code ${code}${why})`;
  if (wasOpen) return new ConnectionLost(code === BROKEN ? "the connection broke" : meaning, code);
  if (code !== BROKEN) return new ConnectionFailed(`${url.href}: ${meaning}`, code);
  return new ConnectionFailed(
    `${url.href} cannot be reached: nobody may be there, or it is no Rowcast server, refuses this ` +
      "page (its origin, too many connections, a token), has a certificate that this browser does " +
      "not trust, or this page's own policy keeps it away (a page of https reaches wss alone)",
    code,
  );
}
