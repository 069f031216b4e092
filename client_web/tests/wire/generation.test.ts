import { describe, expect, test } from "vitest";
import { InvalidRequest, PictureGone, RequestRefused } from "../../src/wire/errors.js";
import { encode } from "../../src/wire/messages.js";
import { COLS, idsOf, ROWS, SEED } from "../support/fake-server.js";
import { all, Play, read, types } from "../support/play.js";

const VIEW_KEY = new Uint8Array(16).fill(9);

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
    expect(generation.pictures[0]?.prefix(1)).toEqual(idsOf(0, 1));
    expect(() => generation.pictures[0]?.prefix(3)).toThrow(InvalidRequest);
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
