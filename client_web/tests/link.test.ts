import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ConnectionLost, ProtocolError } from "../src/wire/errors.js";
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
} from "./support/fake-web-socket.js";

beforeEach(begin);
afterEach(end);

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
    net.behaviour = (socket) => socket.failToOpen();
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
    net.behaviour = (socket) => {
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

  test("a page that was frozen asks again before it gives up", async () => {
    await open();
    last().onSent = () => {};
    await vi.advanceTimersByTimeAsync(20_100);
    const now = performance.now();
    vi.spyOn(performance, "now").mockImplementation(() => now + 500_000);
    await vi.advanceTimersByTimeAsync(20_000);
    expect([pings(), last().closed]).toEqual([2, undefined]);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(last().closed?.code).toBe(1000);
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
