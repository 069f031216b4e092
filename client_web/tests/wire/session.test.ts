import { describe, expect, test } from "vitest";
import { crc32 } from "../../src/wire/crc32.js";
import {
  InvalidRequest,
  PictureGone,
  ProtocolError,
  RequestRefused,
} from "../../src/wire/errors.js";
import type { Generation } from "../../src/wire/generation.js";
import { type ClientMessage, decodeClient, encode, type Message } from "../../src/wire/messages.js";
import type { GenerateRequest } from "../../src/wire/requests.js";
import { Session } from "../../src/wire/session.js";
import type { PictureEvent } from "../../src/wire/slot.js";
import { COLS, idsOf, REVISION, ROWS, SEED, type World, welcome } from "../support/fake-server.js";

const VIEW_KEY = new Uint8Array(16).fill(9);

/** A session with a server that is played by hand. */
class Play {
  now = 0;
  readonly session: Session;

  constructor(patience: readonly [number, number] = [0, 0]) {
    const clock = () => this.now;
    this.session = new Session({ name: "test", url: "wss://x.example/ws", patience, clock });
    this.open();
  }

  open(world?: World, ...others: World[]): ClientMessage[] {
    this.session.isOpen = false;
    this.session.hello(undefined);
    this.receive(welcome(world, ...others));
    return read(this.session.resume());
  }

  receive(frame: Uint8Array<ArrayBuffer>): ClientMessage[] {
    return read(this.session.receive(frame.buffer));
  }

  start(request: Partial<GenerateRequest> = {}): [Generation, ClientMessage[]] {
    const [generation, frames] = this.session.start({ prompt: "a red boat", ...request });
    generation.onCancel = (slots) => this.session.cancel(slots);
    return [generation, read(frames)];
  }

  accepted(fields: Partial<Message<"accepted">> = {}): void {
    const told = { stream: 0, image: 0, model: "tiny", revision: REVISION, seed: SEED, rows: ROWS };
    const more = { cols: COLS, idBytes: 2, firstRow: 0, position: 0, textCut: 0, textLost: 0 };
    this.receive(encode({ type: "accepted", ...told, ...more, ...fields }));
  }

  rows(first: number, last: number, stream = 0, image = stream): void {
    const ids = idsOf(first, last, image);
    this.receive(encode({ type: "rows", stream, firstRow: first, ids }));
  }

  done(rows = ROWS, reason = 0, stream = 0): void {
    const sum = crc32(idsOf(0, rows, stream));
    this.receive(encode({ type: "done", stream, rows, crc32: sum, milliseconds: 5, reason }));
  }

  refuse(code: string, retryMs = 0, stream = 0): ClientMessage[] {
    return this.receive(encode({ type: "error", stream, code, retryMs, text: "no" }));
  }
}

function read(frames: Uint8Array[]): ClientMessage[] {
  return frames.map((frame) => decodeClient(frame, 20_000) as ClientMessage);
}

/** All events, and what was thrown after them. */
async function all(generation: Generation): Promise<[PictureEvent[], unknown]> {
  const events: PictureEvent[] = [];
  try {
    for await (const event of generation) events.push(event);
  } catch (error) {
    return [events, error];
  }
  return [events, undefined];
}

const types = (events: PictureEvent[]) => events.map(({ type }) => type);

describe("events", () => {
  test("are coalesced: who takes them late sees the newest state once", async () => {
    const play = new Play();
    const [generation] = play.start();
    play.accepted({ position: 3 });
    play.receive(encode({ type: "queued", stream: 0, position: 1 }));
    for (let row = 0; row < 4; row++) play.rows(row, row + 1);
    const events = generation[Symbol.asyncIterator]();
    expect((await events.next()).value).toMatchObject({ type: "accepted", position: 1 });
    expect((await events.next()).value).toMatchObject({ type: "queued", position: 1 });
    expect((await events.next()).value).toMatchObject({ type: "rows", firstRow: 0, count: 4 });
    play.rows(4, 5);
    play.rows(5, 6);
    play.done();
    expect((await events.next()).value).toMatchObject({ type: "rows", firstRow: 4, count: 2 });
    expect((await events.next()).value).toMatchObject({ type: "done", reason: "complete" });
    expect(await events.next()).toEqual({ done: true, value: undefined });
    expect(generation.pictures[0]).toMatchObject({ milliseconds: 5, rowsHeld: ROWS });
  });

  test("the ids of a picture grow in place", () => {
    const play = new Play();
    const [generation] = play.start();
    play.accepted();
    const ids = generation.pictures[0]?.ids;
    play.rows(0, 2);
    expect(generation.pictures[0]?.ids).toBe(ids);
    expect(ids?.[COLS]).toBe(31 * SEED + 7 * COLS);
    expect(ids?.[2 * COLS]).toBe(0);
  });

  test("one picture fails, the others go on, and the end throws its error", async () => {
    const play = new Play();
    const [generation] = play.start({ images: 2 });
    play.accepted();
    play.accepted({ stream: 1, image: 1 });
    play.refuse("internal");
    play.rows(0, ROWS, 1);
    play.done(ROWS, 0, 1);
    const [events, error] = await all(generation);
    expect(types(events)).toEqual(["accepted", "accepted", "failed", "rows", "done"]);
    expect(error).toMatchObject({ name: "RequestRefused", code: "internal" });
  });

  test("a start that is refused fails as one", async () => {
    const play = new Play();
    const [generation] = play.start({ images: 2 });
    play.refuse("bad_prompt");
    const [events, error] = await all(generation);
    expect([events, (error as RequestRefused).code]).toEqual([[], "bad_prompt"]);
    expect(error).toBeInstanceOf(RequestRefused);
    play.refuse("bad_prompt", 0, 1); // for each of its streams
    expect(play.start()[1]).toMatchObject([{ type: "start", stream: 0 }]);
  });

  test("what is watched and gone is told so", async () => {
    const play = new Play();
    const [generation, frames] = play.session.watch(VIEW_KEY, 2, 2);
    expect(read(frames)).toMatchObject([
      { type: "watch", stream: 0, image: 2, rowsHeld: 0, viewKey: VIEW_KEY },
      { type: "watch", stream: 1, image: 3 },
    ]);
    play.refuse("gone");
    play.refuse("gone", 0, 1);
    expect((await all(generation))[1]).toBeInstanceOf(PictureGone);
    expect(generation.link).toBe(`rowcast:wss://x.example/ws#${"09".repeat(16)}/2-3`);
  });

  test("whoever leaves the loop cancels, and is told nothing more", async () => {
    const play = new Play();
    const [generation] = play.start();
    const cancelled: number[] = [];
    generation.onCancel = (slots) => cancelled.push(...slots.map(({ stream }) => stream));
    play.accepted();
    for await (const _ of generation) break;
    expect(cancelled).toEqual([0]);
    expect((await all(generation))[0]).toEqual([]);
    expect(play.open()).toEqual([]); // nobody asks for it on the next socket
    expect(play.start()[1]).toMatchObject([{ stream: 0 }]);
  });

  test("a signal cancels, and its reason is thrown", async () => {
    const play = new Play();
    const [generation] = play.start();
    const ending = new AbortController();
    generation.endWith(ending.signal);
    play.accepted();
    const end = all(generation);
    ending.abort(new Error("enough"));
    expect((await end)[1]).toEqual(new Error("enough"));
    expect(generation.slots[0].isCancelled).toBe(true);
  });
});

describe("requests", () => {
  test("an option that is not said is not sent", () => {
    const [, [start]] = new Play().start({ stopRow: 2, images: 3, firstImage: 4 });
    const stated = { stopRow: 2, firstImage: 4, seed: null, model: null, prefix: null };
    expect(start).toMatchObject({ type: "start", images: 3, options: stated });
  });

  test.each([
    { images: 0 },
    { images: 65 },
    { images: 1.5 },
    { seed: 0.5 },
    { topK: 7.5 },
    { temperature: "1" },
    { prompt: 7 },
    { revision: new Uint8Array(7) },
    { firstImage: -1 },
    { prefix: new Uint8Array(5_000) },
  ])("what cannot be sent is refused here: %o", (request) => {
    const play = new Play();
    expect(() => play.start(request as object)).toThrow(InvalidRequest);
    expect(play.session.active).toEqual([]);
    expect(play.start()[1]).toMatchObject([{ stream: 0 }]);
  });

  test("streams are the lowest that are free in a row", () => {
    const play = new Play();
    const streams = (images: number) => play.start({ images })[0].slots.map(({ stream }) => stream);
    expect([streams(2), streams(1), streams(2)]).toEqual([[0, 1], [2], [3, 4]]);
    for (const stream of [0, 1, 3]) {
      play.accepted({ stream, image: stream % 3 });
      play.done(0, 2, stream);
    }
    expect([streams(2), streams(2), streams(1)]).toEqual([[0, 1], [5, 6], [3]]);
  });
});

describe("after a lost link", () => {
  test("a picture is asked for by its owner with all that is known", () => {
    const play = new Play();
    const [generation, [first]] = play.start({ images: 2, topP: 0.5 });
    play.accepted();
    play.accepted({ stream: 1, image: 1 });
    play.rows(0, 2, 1);
    const key = (first as Message<"start">).key;
    const sampling = { temperature: 1, topK: 256, topP: 0.5, guidance: 16, minP: 0 };
    const known = { model: "tiny", seed: SEED, revision: REVISION, ...sampling };
    expect(play.open()).toMatchObject([
      { stream: 0, images: 1, key, options: { ...known, firstImage: 0 } },
      { stream: 1, images: 1, key, options: { ...known, firstImage: 1, prefix: idsOf(0, 2, 1) } },
    ]);
    expect(generation.hasEnded).toBe(false);
  });

  test("one that nobody answered is to have what the others have", () => {
    const play = new Play();
    play.start({ images: 2 });
    play.accepted({ seed: 77 });
    play.rows(0, 1);
    const options = { seed: 77, model: "tiny", revision: REVISION, guidance: 16, prefix: null };
    expect(play.open()).toMatchObject([{ stream: 0 }, { stream: 1, options }]);
  });

  test("a start that is longer than the next server takes is not sent, and fails (R-97)", async () => {
    const play = new Play();
    play.open({ clientFrameBytes: 20_000 });
    const [generation] = play.start({ prompt: "p".repeat(4_080) });
    expect(play.open({ clientFrameBytes: 4_096 })).toEqual([]);
    expect((await all(generation))[1]).toMatchObject({ name: "ConnectionLost" });
  });

  test.each([
    [ROWS, undefined, "complete"],
    [2, 2, "stop_row"],
  ])("who holds all watches, and needs only the end (R-96): %i rows", (rows, stopRow, reason) => {
    const play = new Play();
    const [generation] = play.start(stopRow ? { stopRow } : {});
    play.accepted();
    play.rows(0, rows);
    expect(play.open()).toMatchObject([{ type: "watch", rowsHeld: rows }]);
    play.refuse("gone");
    expect(generation.pictures[0]?.reason).toBe(reason);
    expect(generation.hasEnded).toBe(true);
  });

  test.each([
    { revision: new Uint8Array(8) },
    { seed: 8 },
    { textCut: 1 },
    { textLost: 1 },
    { firstRow: 0 },
    { model: "other" },
  ])("an accepted that is of another picture breaks the protocol (R-95): %o", (told) => {
    const play = new Play();
    play.start({});
    play.accepted();
    play.rows(0, 2);
    play.open({}, { name: "other" });
    expect(() => play.accepted({ firstRow: 2, ...told })).toThrow(ProtocolError);
    const again = new Play();
    again.start({});
    again.accepted();
    again.rows(0, 2);
    again.open({}, { name: "other" });
    again.accepted({ firstRow: 2, position: 4 });
  });

  test("what was cancelled while there was no link is cancelled on the next", () => {
    const play = new Play();
    const [generation] = play.start({ images: 2 });
    play.accepted();
    play.accepted({ stream: 1, image: 1 });
    play.session.isOpen = false;
    generation.cancel(1);
    expect(play.open()).toMatchObject([
      { type: "start", stream: 0 },
      { type: "start", stream: 1 },
      { type: "cancel", stream: 1 },
    ]);
    play.accepted({ stream: 1, image: 1 });
    play.done(0, 2, 1);
    expect(generation.pictures[1]?.reason).toBe("cancelled");
  });

  test("after goaway no start is sent; the next socket has it", () => {
    const play = new Play();
    play.receive(encode({ type: "goaway", milliseconds: 5 }));
    const [, frames] = play.start();
    expect([frames, play.session.resume()]).toEqual([[], []]);
    expect(play.open()).toMatchObject([{ type: "start", stream: 0 }]);
  });
});

describe("a busy server", () => {
  test("is waited for, not a moment less than it says, and no longer than our patience", async () => {
    const play = new Play([1_000, 0]);
    const [generation, [start]] = play.start();
    play.refuse("busy", 400);
    expect(play.session.retryIn).toBeGreaterThanOrEqual(400);
    expect(play.session.retryIn).toBeLessThanOrEqual(500);
    play.now = 399;
    expect(play.session.retry()).toEqual([]);
    play.now = 500;
    expect(read(play.session.retry())).toEqual([start]);
    expect(play.session.retryIn).toBeUndefined();
    play.refuse("busy", 400);
    play.now = 1_000;
    expect(read(play.session.retry())).toEqual([start]);
    play.refuse("busy", 400);
    expect((await all(generation))[1]).toMatchObject({ code: "busy", retryMilliseconds: 400 });
  });

  test("one that has no time to name is told at once", async () => {
    const play = new Play([1_000, 1_000]);
    const [generation] = play.start();
    play.refuse("out_of_paint");
    expect((await all(generation))[1]).toMatchObject({ code: "out_of_paint" });
  });

  test("what was put off is asked for as one, on the next socket as well", () => {
    const play = new Play([1_000, 1_000]);
    const [, [start]] = play.start({ images: 2 });
    play.refuse("busy", 100);
    expect(play.session.retryIn).toBeUndefined(); // the other is not answered yet
    expect(play.open()).toEqual([]);
    play.now = 125;
    expect(play.session.retryIn).toBe(0);
    expect(read(play.session.retry())).toEqual([start]);
  });

  test("what is cancelled while it waits ends without a word", async () => {
    const play = new Play([1_000, 1_000]);
    const [generation] = play.start();
    play.refuse("busy", 100);
    generation.cancel();
    expect(await all(generation)).toEqual([[], undefined]);
    expect(play.session.retryIn).toBeUndefined();
  });

  test("of a request that waits as one, a cancelled picture is cancelled once it is asked for", () => {
    const play = new Play([1_000, 1_000]);
    const [generation, [start]] = play.start({ images: 2 });
    play.refuse("busy", 100);
    play.refuse("busy", 100, 1);
    generation.cancel(1);
    expect(play.start()[0].slots[0].stream).toBe(2); // its streams are still taken
    play.now = 200;
    expect(read(play.session.retry())).toEqual([start, { type: "cancel", stream: 1 }]);
  });

  test("what is cancelled before it is refused ends without a word", async () => {
    const play = new Play();
    const [generation] = play.start();
    generation.cancel();
    play.refuse("busy", 100);
    expect(await all(generation)).toEqual([[], undefined]);
  });

  test("a recovery that is cancelled while it waits is told as cancelled", async () => {
    const play = new Play([1_000, 1_000]);
    const [generation] = play.start();
    play.accepted();
    play.rows(0, 2);
    play.open();
    play.refuse("busy", 100);
    generation.cancel();
    const [events] = await all(generation);
    expect(events.at(-1)).toMatchObject({ type: "done", reason: "cancelled" });
  });
});

describe("what no server may send", () => {
  const cases: [string, (play: Play) => void][] = [
    ["a text frame", (play) => play.session.receive("hello")],
    ["a second welcome", (play) => play.receive(welcome())],
    ["rows before accepted", (play) => play.rows(0, 1)],
    ["another image", (play) => play.accepted({ image: 1 })],
    ["another grid", (play) => play.accepted({ rows: ROWS + 1 })],
    ["a model that was not announced", (play) => play.accepted({ model: "huge" })],
    ["a model that was not asked for", (play) => play.accepted({ model: "other" })],
  ];

  test.each(cases)("%s", (_, send) => {
    const play = new Play();
    play.open({}, { name: "other" });
    play.start();
    expect(() => send(play)).toThrow(ProtocolError);
  });

  test.each([
    { codebook: 70_000 },
    { idBytes: 4 },
    { sampling: Array(5).fill([1, 0, Number.POSITIVE_INFINITY]) },
    { sampling: Array(5).fill([0.5, 0, 1]) }, // of topK
  ])("a welcome with what cannot be (R-92): %o", (world) => {
    const play = new Play();
    expect(() => play.open(world)).toThrow(ProtocolError);
  });

  test("frames of streams that are not open are passed over (R-94)", () => {
    const play = new Play();
    play.accepted({ stream: 9 });
    play.rows(3, 4, 9);
    play.done(2, 0, 9);
    expect(play.refuse("internal", 0, 9)).toEqual([]);
  });

  test("a ping is answered, and a pong is not", () => {
    const play = new Play();
    expect(play.receive(encode({ type: "ping", echo: 5 }))).toEqual([{ type: "pong", echo: 5 }]);
    expect(play.receive(encode({ type: "pong", echo: 5 }))).toEqual([]);
  });

  test("an error of the connection ends it, and no more is tried (R-119)", () => {
    const play = new Play();
    const frame = {
      type: "error",
      stream: null,
      code: "internal",
      retryMs: 5,
      text: "fire",
    } as const;
    expect(() => play.receive(encode(frame))).toThrow(
      expect.objectContaining({ closeCode: 1000, message: "the server reports: fire [internal]" }),
    );
  });
});

describe("what was saved", () => {
  test("goes on with prefix, pictures and ends as they were", async () => {
    const play = new Play();
    const request = { images: 2, firstImage: 3, prefix: idsOf(0, 1, 0), seed: SEED, stopRow: 5 };
    const [generation] = play.start(request);
    play.accepted({ image: 3, firstRow: 1, textCut: 9 });
    play.rows(1, 3, 0, 0);
    const kept = JSON.parse(JSON.stringify(generation.save()));
    const next = new Play();
    const [restored, frames] = next.session.restore(kept);
    expect(restored.pictures).toMatchObject([{ rowsHeld: 3, textCut: 9, seed: SEED }, undefined]);
    expect(restored.pictures[0]?.checksum).toBe(generation.pictures[0]?.checksum);
    expect(read(frames)).toEqual(play.open());
    const events = restored[Symbol.asyncIterator]();
    expect((await events.next()).value).toMatchObject({ type: "accepted" });
    expect((await events.next()).value).toMatchObject({ type: "rows", firstRow: 1, count: 2 });
  });

  test("is nothing to ask for where all has ended", async () => {
    const play = new Play();
    const [generation] = play.start();
    play.accepted();
    play.rows(0, 2);
    play.done(2, 200);
    const [restored, frames] = new Play().session.restore(generation.save());
    expect(frames).toEqual([]);
    const [events] = await all(restored);
    expect(events.at(-1)).toMatchObject({ type: "done", reason: 200 });
  });

  test("is watched again where it was only watched", () => {
    const play = new Play();
    const [generation] = play.session.watch(VIEW_KEY, 3, 2);
    play.accepted({ image: 3 });
    play.rows(0, 2);
    const [restored, frames] = new Play().session.restore(generation.save());
    expect(restored.isOwn).toBe(false);
    expect(read(frames)).toMatchObject([
      { type: "watch", image: 3, rowsHeld: 2, viewKey: VIEW_KEY },
      { type: "watch", image: 4, rowsHeld: 0 },
    ]);
  });

  test.each([
    {},
    { asked: [], came: [] },
    { asked: ["93"], came: [] },
    { asked: "x", came: ["9"] },
    { asked: ["920700"], came: [] },
  ])("is refused where it is something else: %o", (saved) => {
    const play = new Play();
    expect(() => play.session.restore(saved as never)).toThrow(InvalidRequest);
    expect(play.session.active).toEqual([]);
  });

  test("is refused by a server that has no such model", () => {
    const play = new Play();
    const [generation] = play.start();
    play.accepted();
    const other = new Play();
    other.open({ name: "other" });
    expect(() => other.session.restore(generation.save())).toThrow(InvalidRequest);
    expect(other.start()[1]).toMatchObject([{ stream: 0 }]);
  });
});
