import { describe, expect, test } from "vitest";
import { ProtocolError } from "../../src/wire/errors.js";
import { encode, type Message } from "../../src/wire/messages.js";
import { idsOf, REVISION, ROWS, SEED, welcome } from "../support/fake-server.js";
import { all, Play } from "../support/play.js";

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

  test("what is whole is not cancelled: its end is on the way", () => {
    const play = new Play();
    const [generation] = play.start();
    play.accepted();
    play.rows(0, ROWS);
    expect(play.session.cancel(generation.slots)).toEqual([]);
    expect(play.open()).toMatchObject([{ type: "watch", rowsHeld: ROWS }]);
  });

  test("after goaway no start is sent; the next socket has it", () => {
    const play = new Play();
    play.receive(encode({ type: "goaway", milliseconds: 5 }));
    const [, frames] = play.start();
    expect([frames, play.session.resume()]).toEqual([[], []]);
    expect(play.open()).toMatchObject([{ type: "start", stream: 0 }]);
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
