import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Client, type ClientOptions, connect } from "../src/client.js";
import {
  ConnectionFailed,
  ConnectionLost,
  InvalidRequest,
  ProtocolError,
} from "../src/wire/errors.js";
import type { Generation } from "../src/wire/generation.js";
import { type ClientMessage, decodeClient, encode, SUBPROTOCOL } from "../src/wire/messages.js";
import { FakeConnection, FakeServer, ROWS, welcome } from "./support/fake-server.js";

const URL_OF_SERVER = "wss://draw.example/ws";
const sockets: FakeWebSocket[] = [];
/** What a server does as soon as a socket was made. */
let behaviour: (socket: FakeWebSocket) => void;

/** The WebSocket of a page, as far as the client uses it. */
class FakeWebSocket {
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
    queueMicrotask(() => behaviour(this));
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

let server: FakeServer;
let connection: FakeConnection;

/** A socket to the server that draws when it is told to. */
function serve(socket: FakeWebSocket): void {
  connection = new FakeConnection(server);
  const mine = connection;
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
async function draw(rows: number): Promise<void> {
  for (let row = 0; row < rows; row++) {
    server.draw();
    connection.tell();
    for (const frame of connection.toClient.splice(0)) sockets.at(-1)?.receive(frame);
    await settle();
  }
}

const settle = () => vi.advanceTimersByTimeAsync(0);
const last = () => sockets.at(-1) as FakeWebSocket;
const open = (options: ClientOptions = {}) =>
  connect(URL_OF_SERVER, { WebSocket: FakeWebSocket as unknown as typeof WebSocket, ...options });

/** The error of what rejects, while time passes. */
async function rejection(promise: Promise<unknown>, milliseconds = 60_000): Promise<Error> {
  const error = promise.then(
    () => new Error("it did not reject"),
    (error: Error) => error,
  );
  await vi.advanceTimersByTimeAsync(milliseconds);
  return error;
}

async function all(generation: Generation): Promise<string[]> {
  const types: string[] = [];
  for await (const { type } of generation) types.push(type);
  return types;
}

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ["setTimeout", "clearTimeout", "performance"],
  });
  sockets.length = 0;
  server = new FakeServer();
  behaviour = serve;
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("opening", () => {
  test("hello comes first, then the models are there", async () => {
    const client = await open({ token: "s3cret" });
    expect(last().sent).toEqual([{ type: "hello", token: "s3cret", client: "rowcast-web 0.1.0" }]);
    expect(last().binaryType).toBe("arraybuffer");
    expect([client.state, client.models[0].name, client.limits.streams]).toEqual([
      ...["open", "tiny", 64],
    ]);
    expect(client.bytesReceived).toBe(welcome().length);
  });

  test.each(["http://x.example", "x.example", "wss://x.example/#a"])("%s is no address", (url) => {
    return expect(connect(url)).rejects.toBeInstanceOf(InvalidRequest);
  });

  test("nobody there: three attempts, and what may be wrong (R-100, R-109)", async () => {
    behaviour = (socket) => socket.failToOpen();
    const error = await rejection(open());
    expect(error).toBeInstanceOf(ConnectionFailed);
    expect(error).not.toBeInstanceOf(ConnectionLost);
    expect(error.message).toContain(URL_OF_SERVER);
    expect(error.message).toContain("certificate");
    expect(sockets).toHaveLength(3);
  });

  test("a server that says nothing is not waited for beyond 10 seconds", async () => {
    behaviour = (socket) => socket.open();
    const error = await rejection(open());
    expect(error.message).toContain("does not answer");
    expect(sockets.map(({ closed }) => closed?.code)).toEqual([1000, 1000, 1000]);
  });

  test("a token that is not valid is not tried again", async () => {
    behaviour = (socket) => {
      socket.open();
      socket.end(4403, "bad token");
    };
    const error = await rejection(open());
    expect(error).toMatchObject({ name: "ConnectionFailed", closeCode: 4403 });
    expect(error.message).toContain("bad token");
    expect(sockets).toHaveLength(1);
  });

  test("another subprotocol is closed 4406", async () => {
    behaviour = (socket) => socket.open("");
    expect(await rejection(open())).toMatchObject({ closeCode: 4406 });
    expect(sockets.map(({ closed }) => closed?.code)).toEqual([4406]);
  });

  test("a server that breaks the protocol is told so, and not tried again", async () => {
    behaviour = (socket) => {
      socket.open();
      socket.receive(encode({ type: "pong", echo: 1 }));
    };
    expect(await rejection(open())).toBeInstanceOf(ProtocolError);
    expect(last().closed).toEqual({ code: 4400, reason: "no welcome came first" });
    expect(sockets).toHaveLength(1);
  });

  test("a signal ends it with its reason", async () => {
    behaviour = () => {};
    const ending = new AbortController();
    const opening = open({ signal: ending.signal });
    await settle();
    ending.abort(new Error("enough"));
    expect(await rejection(opening)).toEqual(new Error("enough"));
    expect(last().closed?.code).toBe(1000);
    await expect(open({ signal: ending.signal })).rejects.toThrow("enough");
    expect(sockets).toHaveLength(1);
  });

  test("a token that cannot be had is told", async () => {
    const token = () => Promise.reject(new Error("signed out"));
    expect(await rejection(open({ token }))).toEqual(new Error("signed out"));
    expect(sockets).toEqual([]);
  });
});

describe("pictures", () => {
  test("form, and are told", async () => {
    const client = await open();
    const generation = client.generate({ prompt: "a red boat", images: 2 });
    const events = all(generation);
    await settle();
    await draw(ROWS);
    const told = await events;
    expect(told.slice(0, 4)).toEqual(["accepted", "accepted", "rows", "rows"]);
    expect(told.filter((type) => type === "rows")).toHaveLength(2 * ROWS);
    expect(told.filter((type) => type === "done")).toHaveLength(2);
    expect(generation.pictures[1]).toMatchObject({ image: 1, reason: "complete", rowsHeld: ROWS });
    expect(generation.link).toMatch(/^rowcast:wss:\/\/draw\.example\/ws#[0-9a-f]{32}\/0-1$/);
  });

  test("of a link of this server's are watched; of another's they are not", async () => {
    const client = await open();
    const { link } = client.generate({ prompt: "a red boat" });
    await settle();
    const other = await open();
    const events = all(other.watch(link));
    await settle();
    await draw(ROWS);
    expect((await events).at(-1)).toBe("done");
    expect(() => other.watch(link.replace("draw", "other"))).toThrow(InvalidRequest);
    expect(() => other.watch("rowcast:wss://x")).toThrow(InvalidRequest);
    expect(last().sent.filter(({ type }) => type === "watch")).toHaveLength(1);
  });

  test("are cancelled one by one, and by a signal", async () => {
    const client = await open();
    const ending = new AbortController();
    const generation = client.generate({ prompt: "b", images: 2, signal: ending.signal });
    const events = all(generation);
    events.catch(() => {});
    await settle();
    generation.cancel(1);
    await draw(1);
    expect(generation.pictures[1]?.reason).toBe("cancelled");
    ending.abort(new Error("enough"));
    await expect(events).rejects.toThrow("enough");
    expect(last().sent.filter(({ type }) => type === "cancel")).toEqual([
      { type: "cancel", stream: 1 },
      { type: "cancel", stream: 0 },
    ]);
    expect(() => client.generate({ prompt: "c", signal: ending.signal })).toThrow("enough");
  });

  test("closing cancels what forms; then nothing can be asked for", async () => {
    const client = await open();
    const events = all(client.generate({ prompt: "b" }));
    events.catch(() => {});
    await settle();
    client.close();
    await expect(events).rejects.toThrow(ConnectionLost);
    expect(last().sent.at(-1)).toEqual({ type: "cancel", stream: 0 });
    expect(last().closed?.code).toBe(1000);
    expect(client.state).toBe("closed");
    expect(() => client.generate({ prompt: "c" })).toThrow(ConnectionLost);
    client.close();
  });
});

describe("a lost link", () => {
  test("is taken up while a picture forms, and the rest comes", async () => {
    const client = await open();
    const states: string[] = [];
    client.addEventListener("statechange", () => states.push(client.state));
    const generation = client.generate({ prompt: "a red boat" });
    const events = all(generation);
    await settle();
    await draw(2);
    last().end(1006);
    await vi.advanceTimersByTimeAsync(250);
    expect(sockets).toHaveLength(2);
    expect(last().sent[1]).toMatchObject({ type: "start", images: 1 });
    await draw(ROWS);
    expect((await events).at(-1)).toBe("done");
    expect(generation.pictures[0]?.rowsHeld).toBe(ROWS);
    expect(states).toEqual(["reconnecting", "open"]);
  });

  test("while nothing forms it is taken up with the next request", async () => {
    const client = await open();
    last().end(1001);
    await vi.advanceTimersByTimeAsync(60_000);
    expect([client.state, sockets.length]).toEqual(["idle", 1]);
    const generation = client.generate({ prompt: "a red boat" });
    await vi.advanceTimersByTimeAsync(250);
    expect([client.state, sockets.length]).toEqual(["open", 2]);
    expect(generation.pictures[0]?.seed).toBe(7);
    expect(last().sent.map(({ type }) => type)).toEqual(["hello", "start"]);
  });

  test("is given up when nothing new came for as long as there is patience", async () => {
    const client = await open({ reconnectSeconds: 10 });
    const events = all(client.generate({ prompt: "a red boat" }));
    await settle();
    behaviour = (socket) => socket.failToOpen();
    last().end(1006);
    let isOver = false;
    events.catch(() => {
      isOver = true;
    });
    await vi.advanceTimersByTimeAsync(5_000);
    expect([isOver, client.state]).toEqual([false, "reconnecting"]);
    const error = await rejection(events, 5_100);
    expect(client.state).toBe("closed");
    expect(error).toBeInstanceOf(ConnectionLost);
    expect(error.message).toContain("cannot be reached");
    expect(sockets.length).toBeGreaterThan(4);
    expect(sockets.length).toBeLessThan(60);
  });

  test("a server that only welcomes and closes is not asked for ever (R-99)", async () => {
    const client = await open({ reconnectSeconds: 5 });
    const events = all(client.generate({ prompt: "a red boat" }));
    behaviour = (socket) => {
      socket.onSent = () => {};
      socket.open();
      socket.receive(welcome());
      queueMicrotask(() => queueMicrotask(() => socket.end(1001)));
    };
    await settle();
    last().end(1006);
    expect(await rejection(events, 20_000)).toBeInstanceOf(ConnectionLost);
    expect(client.state).toBe("closed");
    expect(sockets.length).toBeLessThan(60);
  });

  test.each([4400, 4403, 4466, 1000, 1009])("code %i is the end", async (code) => {
    const client = await open();
    const events = all(client.generate({ prompt: "a red boat" }));
    await settle();
    last().end(code, "because");
    const error = await rejection(events, 5_000);
    expect(error).toMatchObject({ name: "ConnectionLost", closeCode: code });
    expect(error.message).toContain("because");
    expect([client.state, sockets.length]).toEqual(["closed", 1]);
  });

  test.each([
    ["a function gives a fresh one", 2],
    ["it stays as it is", 1],
  ])("where a token has ended (4501) and %s", async (_, count) => {
    let shown = 0;
    const client = await open({ token: count === 2 ? () => `token ${shown++}` : "token" });
    all(client.generate({ prompt: "a red boat" })).catch(() => {});
    await settle();
    last().end(4501);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(sockets).toHaveLength(count);
    expect(last().sent[0]).toMatchObject({ token: count === 2 ? "token 1" : "token" });
  });

  test("what is cancelled meanwhile is cancelled on the next one", async () => {
    const client = await open();
    const generation = client.generate({ prompt: "a red boat" });
    const events = all(generation);
    await settle();
    await draw(1);
    last().end(1006);
    await settle();
    generation.cancel();
    await vi.advanceTimersByTimeAsync(250);
    await draw(1);
    expect((await events).at(-1)).toBe("done");
    expect(generation.pictures[0]?.reason).toBe("cancelled");
  });

  test("a server that breaks the protocol later ends all", async () => {
    const client = await open();
    const events = all(client.generate({ prompt: "a red boat" }));
    await settle();
    last().receive("text");
    expect(await rejection(events, 5_000)).toBeInstanceOf(ProtocolError);
    expect(last().closed).toMatchObject({ code: 4400, reason: "a text frame came" });
    expect([client.state, sockets.length]).toEqual(["closed", 1]);
  });
});

describe("silence (R-98, R-113)", () => {
  const pings = () => last().sent.filter(({ type }) => type === "ping").length;

  test("is asked after for once, and an answer is a sign of life", async () => {
    await open();
    await vi.advanceTimersByTimeAsync(19_900);
    expect(pings()).toBe(0);
    await vi.advanceTimersByTimeAsync(200);
    expect(pings()).toBe(1);
    await vi.advanceTimersByTimeAsync(19_000);
    expect(pings()).toBe(1);
    await vi.advanceTimersByTimeAsync(2_000);
    expect([pings(), sockets.length, last().closed]).toEqual([2, 1, undefined]);
  });

  test("without an answer the link is lost, and its close is not waited for", async () => {
    const client = await open();
    all(client.generate({ prompt: "a red boat" })).catch(() => {});
    await settle();
    last().onSent = () => {};
    await vi.advanceTimersByTimeAsync(39_900);
    expect([pings(), client.state]).toEqual([1, "open"]);
    await vi.advanceTimersByTimeAsync(300);
    expect([sockets[0].closed?.code, client.state, sockets.length]).toEqual([1000, "open", 2]);
  });

  test("a page that is shown again asks at once", async () => {
    const page = Object.assign(new EventTarget(), { hidden: false });
    vi.stubGlobal("document", page);
    const client = await open();
    page.hidden = true;
    page.dispatchEvent(new Event("visibilitychange"));
    expect(pings()).toBe(0);
    page.hidden = false;
    page.dispatchEvent(new Event("visibilitychange"));
    expect(pings()).toBe(1);
    client.close();
    page.dispatchEvent(new Event("visibilitychange"));
    expect(pings()).toBe(1);
  });
});

describe("a busy server", () => {
  test("is asked again when it says so, on a new link as well", async () => {
    const client = await open({ waitWhenBusySeconds: 30 });
    server.busyFor = 3;
    const generation = client.generate({ prompt: "a red boat", images: 2 });
    const events = all(generation);
    await settle();
    await vi.advanceTimersByTimeAsync(290);
    expect(last().sent.filter(({ type }) => type === "start")).toHaveLength(1);
    last().end(1006);
    await vi.advanceTimersByTimeAsync(1_500);
    await draw(ROWS);
    expect((await events).filter((type) => type === "done")).toHaveLength(2);
  });

  test("is told at once where there is no patience for it", async () => {
    const client = await open();
    server.busyFor = 1;
    const error = await rejection(all(client.generate({ prompt: "a red boat" })), 10);
    expect(error).toMatchObject({ name: "RequestRefused", code: "busy", retryMilliseconds: 300 });
  });

  test("half of a request that waits over a lost link is asked for by its time alone", async () => {
    const refused = { type: "error", stream: 0, code: "busy", retryMs: 3_000, text: "" } as const;
    const quiet = await open({ waitWhenBusySeconds: 30 });
    last().onSent = () => {};
    all(quiet.generate({ prompt: "a red boat", images: 2 })).catch(() => {});
    last().receive(encode(refused));
    last().end(1006);
    await vi.advanceTimersByTimeAsync(2_900);
    expect(last().sent.map(({ type }) => type)).toEqual(["hello"]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(last().sent.map(({ type }) => type)).toEqual(["hello", "start"]);
  });
});

test("it is disposed of by `using`", async () => {
  const client = await open();
  client[Symbol.dispose]();
  expect(client).toBeInstanceOf(Client);
  expect(client.state).toBe("closed");
});
