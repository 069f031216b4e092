/** The WebSocket of a page, with a server at its other end, while time is ours. */

import { expect, vi } from "vitest";
import { type ClientOptions, connect } from "../../src/client.js";
import type { Generation } from "../../src/wire/generation.js";
import { type ClientMessage, decodeClient, SUBPROTOCOL } from "../../src/wire/messages.js";
import { FakeConnection, FakeServer } from "./fake-server.js";

export const URL_OF_SERVER = "wss://draw.example/ws";
export const sockets: FakeWebSocket[] = [];
/** What is at the other end. */
export const net = {
  server: new FakeServer(),
  connection: new FakeConnection(new FakeServer()),
  /** What the server does as soon as a socket was made. */
  behaviour: serve,
};

/** A WebSocket, as far as the client uses it. */
export class FakeWebSocket {
  readyState = 0;
  protocol = "";
  binaryType = "blob";
  readonly url: string;
  readonly sent: ClientMessage[] = [];
  closed: { code: number | undefined; reason: string | undefined } | undefined;
  onopen: () => void = () => {};
  onmessage: (event: { data: unknown }) => void = () => {};
  onerror: () => void = () => {};
  onclose: (event: { code: number; reason: string }) => void = () => {};
  onSent: (frame: Uint8Array) => void = () => {};

  constructor(url: string | URL, offered: string) {
    this.url = String(url);
    expect(offered).toBe(SUBPROTOCOL);
    sockets.push(this);
    queueMicrotask(() => net.behaviour(this));
  }

  send(frame: Uint8Array): void {
    expect(this.readyState).toBe(1);
    this.sent.push(decodeClient(frame) as ClientMessage);
    this.onSent(frame);
  }

  close(code?: number, reason?: string): void {
    expect(code === undefined || code === 1000 || (code >= 3000 && code < 5000)).toBe(true);
    expect(new TextEncoder().encode(reason).length).toBeLessThanOrEqual(123);
    this.closed ??= { code, reason };
    this.readyState = 2; // its answer never comes
  }

  /** The server's side. */
  open(protocol = SUBPROTOCOL): void {
    this.readyState = 1;
    this.protocol = protocol;
    this.onopen();
  }

  receive(frame: Uint8Array | string): void {
    const data = typeof frame === "string" ? frame : frame.slice().buffer;
    if (this.readyState < 2 || this.closed) this.onmessage({ data });
  }

  end(code: number, reason = ""): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose({ code, reason });
  }

  failToOpen(): void {
    this.readyState = 3;
    this.onerror();
    this.onclose({ code: 1006, reason: "" });
  }
}

/** A socket to the server that draws when it is told to. */
export function serve(socket: FakeWebSocket): void {
  const mine = new FakeConnection(net.server);
  net.connection = mine;
  const flush = () => {
    for (const frame of mine.toClient.splice(0)) socket.receive(frame);
  };
  socket.onSent = (frame) => {
    mine.take(frame);
    queueMicrotask(flush);
  };
  socket.open();
}

/** The server draws rows, and tells. */
export async function draw(rows: number): Promise<void> {
  for (let row = 0; row < rows; row++) {
    net.server.draw();
    net.connection.tell();
    for (const frame of net.connection.toClient.splice(0)) sockets.at(-1)?.receive(frame);
    await settle();
  }
}

export const settle = () => vi.advanceTimersByTimeAsync(0);
export const last = () => sockets.at(-1) as FakeWebSocket;
export const open = (options: ClientOptions = {}) =>
  connect(URL_OF_SERVER, { WebSocket: FakeWebSocket as unknown as typeof WebSocket, ...options });

/** The error of what rejects, while time passes. */
export async function rejection(promise: Promise<unknown>, milliseconds = 60_000): Promise<Error> {
  const error = promise.then(
    () => new Error("it did not reject"),
    (error: Error) => error,
  );
  await vi.advanceTimersByTimeAsync(milliseconds);
  return error;
}

export async function all(generation: Generation): Promise<string[]> {
  const types: string[] = [];
  for await (const { type } of generation) types.push(type);
  return types;
}

/** Before each test. */
export function begin(): void {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  sockets.length = 0;
  net.server = new FakeServer();
  net.behaviour = serve;
}

/** After each test. */
export function end(): void {
  vi.restoreAllMocks();
  vi.useRealTimers();
  vi.unstubAllGlobals();
}
