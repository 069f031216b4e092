import { describe, expect, test } from "vitest";
import { InvalidRequest } from "../../src/wire/errors.js";
import { idsOf, SEED } from "../support/fake-server.js";
import { all, Play, read } from "../support/play.js";

const VIEW_KEY = new Uint8Array(16).fill(9);

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
