import { describe, expect, test } from "vitest";
import { all, Play, read } from "../support/play.js";

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

  test("frames of a stream that waits are passed over: it is not open", () => {
    const play = new Play([1_000, 1_000]);
    const [generation] = play.start();
    play.refuse("busy", 100);
    play.accepted();
    expect(generation.pictures).toEqual([undefined]);
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
