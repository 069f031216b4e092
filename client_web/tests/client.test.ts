import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Client, connect } from "../src/client.js";
import {
  ConnectionFailed,
  ConnectionLost,
  InvalidRequest,
  ProtocolError,
} from "../src/wire/errors.js";
import { encode } from "../src/wire/messages.js";
import { ROWS, welcome } from "./support/fake-server.js";
import {
  all,
  begin,
  draw,
  end,
  last,
  net,
  open,
  rejection,
  settle,
  sockets,
  URL_OF_SERVER,
} from "./support/fake-web-socket.js";

beforeEach(begin);
afterEach(end);

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
    net.behaviour = (socket) => socket.failToOpen();
    const error = await rejection(open());
    expect(error).toBeInstanceOf(ConnectionFailed);
    expect(error).not.toBeInstanceOf(ConnectionLost);
    expect(error.message).toContain(URL_OF_SERVER);
    expect(error.message).toContain("certificate");
    expect(sockets).toHaveLength(3);
  });

  test("a server that says nothing is not waited for beyond 10 seconds", async () => {
    net.behaviour = (socket) => socket.open();
    const error = await rejection(open());
    expect(error.message).toContain("does not answer");
    expect(sockets.map(({ closed }) => closed?.code)).toEqual([1000, 1000, 1000]);
  });

  test("a token that is not valid is not tried again", async () => {
    net.behaviour = (socket) => {
      socket.open();
      socket.end(4403, "bad token");
    };
    const error = await rejection(open());
    expect(error).toMatchObject({ name: "ConnectionFailed", closeCode: 4403 });
    expect(error.message).toContain("bad token");
    expect(sockets).toHaveLength(1);
  });

  test("another subprotocol is closed 4406", async () => {
    net.behaviour = (socket) => socket.open("");
    expect(await rejection(open())).toMatchObject({ closeCode: 4406 });
    expect(sockets.map(({ closed }) => closed?.code)).toEqual([4406]);
  });

  test("a server that breaks the protocol is told so, and not tried again", async () => {
    net.behaviour = (socket) => {
      socket.open();
      socket.receive(encode({ type: "pong", echo: 1 }));
    };
    expect(await rejection(open())).toBeInstanceOf(ProtocolError);
    expect(last().closed).toEqual({ code: 4400, reason: "no welcome came first" });
    expect(sockets).toHaveLength(1);
  });

  test("a signal ends it with its reason", async () => {
    net.behaviour = () => {};
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

describe("a busy server", () => {
  test("is asked again when it says so, on a new link as well", async () => {
    const client = await open({ waitWhenBusySeconds: 30 });
    net.server.busyFor = 3;
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
    net.server.busyFor = 1;
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
