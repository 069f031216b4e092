/** Links that break anywhere, servers that forget, are busy or go away: rows come once, in order. */

import { describe, expect, test } from "vitest";
import type { Generation } from "../../src/wire/generation.js";
import { Session } from "../../src/wire/session.js";
import type { PictureEvent } from "../../src/wire/slot.js";
import { FakeConnection, FakeServer, idsOf, ROWS, SEED } from "../support/fake-server.js";
import { randomNumbers } from "../support/random.js";
import { hex } from "../support/vectors.js";

const tick = () => new Promise((resolve) => setImmediate(resolve));

/** A session, a server, and links that break as chance has it. */
class Scene {
  now = 0;
  readonly server = new FakeServer();
  session = this.makeSession();
  connection = new FakeConnection(this.server);
  cuts = 0;

  constructor(readonly random: (below: number) => number) {
    this.connect();
  }

  makeSession(): Session {
    return new Session({
      name: "test",
      url: "ws://x.example/",
      patience: [1e6, 1e6],
      clock: () => this.now,
    });
  }

  /** Frames for the server, of which a link that breaks may lose any at the end. */
  send(frames: Uint8Array[]): void {
    for (const frame of frames) this.connection.take(frame);
  }

  connect(): void {
    this.session.isOpen = false;
    this.connection = new FakeConnection(this.server);
    this.connection.take(this.session.hello(undefined));
    this.deliver(1);
    const frames = this.session.resume();
    this.send(this.random(4) === 0 ? frames.slice(0, this.random(frames.length + 1)) : frames);
    if (this.random(4) === 0) this.cut();
  }

  cut(): void {
    if (this.cuts++ < 40) this.connect();
  }

  deliver(count: number): void {
    for (const frame of this.connection.toClient.splice(0, count)) {
      const { buffer } = frame;
      this.send(this.session.receive(buffer));
    }
  }

  /** Something happens. */
  step(): void {
    const { random, server, connection } = this;
    this.now += 1 + random(100);
    switch (random(12)) {
      case 0:
        this.cut();
        break;
      case 1:
        if (random(3) === 0) server.forget();
        break;
      case 2:
        if (random(4) === 0) server.busyFor = random(4);
        break;
      case 3:
        if (random(6) === 0 && !connection.isGoingAway) connection.goAway();
        break;
      case 4:
        server.draw();
        break;
      case 5:
        if (this.session.retryIn === 0) this.send(this.session.retry());
        break;
      default:
        connection.tell();
        this.deliver(random(3));
    }
    if (connection.isGoingAway && random(8) === 0) this.connect();
  }
}

/** All events of a generation; the rows that they tell. */
async function collect(generation: Generation): Promise<[PictureEvent[], number[][]]> {
  const events: PictureEvent[] = [];
  const told: number[][] = generation.slots.map(() => []);
  for await (const event of generation) {
    events.push(event);
    if (event.type !== "rows") continue;
    for (let row = 0; row < event.count; row++) told[event.index].push(event.firstRow + row);
  }
  return [events, told];
}

async function untilEnded(scene: Scene, generation: Generation, most = 20_000): Promise<void> {
  for (let steps = 0; !generation.hasEnded; steps++) {
    if (steps === most) throw new Error(`it does not end, after ${scene.cuts} cuts`);
    scene.step();
    if (scene.random(5) === 0) await tick();
  }
}

describe.each(Array.from({ length: 100 }, (_, seed) => seed))("by chance %i", (seed) => {
  test("own pictures: each row is told once, in order, and all are right", async () => {
    const scene = new Scene(randomNumbers(seed));
    const images = 1 + scene.random(4);
    const stopRow = scene.random(3) === 0 ? { stopRow: 1 + scene.random(ROWS) } : {};
    const held = scene.random(3) === 0 ? scene.random(stopRow.stopRow ?? ROWS) : 0;
    const prefix = images === 1 && held > 0 ? { prefix: idsOf(0, held), seed: SEED } : {};
    const first = prefix.prefix ? held : 0;
    const [generation, frames] = scene.session.start({
      ...{ prompt: "a red boat", images },
      ...stopRow,
      ...prefix,
    });
    scene.send(frames);
    const collected = collect(generation);
    await untilEnded(scene, generation);
    const [events, told] = await collected;
    const rows = stopRow.stopRow ?? ROWS;
    expect(told).toEqual(
      generation.slots.map(() => Array.from({ length: rows - first }, (_, row) => first + row)),
    );
    const ends = events.filter(({ type }) => type === "done");
    expect(ends).toHaveLength(images);
    for (const picture of generation.pictures) {
      expect(picture?.reason).toBe(rows === ROWS ? "complete" : "stop_row");
      expect(hex(picture?.prefix() as Uint8Array)).toBe(hex(idsOf(0, rows, picture?.image)));
      expect(picture?.textLost).toBe(3);
    }
  });

  test("after a reload it goes on where it was", async () => {
    const scene = new Scene(randomNumbers(seed + 1_000));
    const [begun, frames] = scene.session.start({ prompt: "a red boat", images: 2, topK: 5 });
    scene.send(frames);
    for (let steps = scene.random(100); steps > 0; steps--) scene.step();
    const kept = JSON.parse(JSON.stringify(begun.save()));
    scene.session = scene.makeSession();
    scene.connect();
    const [generation, more] = scene.session.restore(kept);
    expect(generation.pictures.map((picture) => picture?.rowsHeld)).toEqual(
      begun.pictures.map((picture) => picture?.rowsHeld),
    );
    scene.send(more);
    const collected = collect(generation);
    await untilEnded(scene, generation);
    const [, told] = await collected;
    const all = Array.from({ length: ROWS }, (_, row) => row);
    expect(told).toEqual([all, all]);
    expect(generation.link).toBe(begun.link);
    for (const picture of generation.pictures) {
      expect(hex(picture?.prefix() as Uint8Array)).toBe(hex(idsOf(0, ROWS, picture?.image)));
      expect(picture?.sampling).toEqual({
        ...{ temperature: 1, topK: 5, topP: 1, guidance: 16, minP: 0 },
      });
    }
  });

  test("what is cancelled, whenever it is, ends, and is drawn for nobody", async () => {
    const scene = new Scene(randomNumbers(seed + 2_000));
    const [generation, frames] = scene.session.start({ prompt: "a red boat", images: 3 });
    scene.send(frames);
    const collected = collect(generation);
    const cancelled = scene.random(3);
    for (let steps = scene.random(60); steps > 0; steps--) scene.step();
    const isLost = scene.random(2) === 0; // there is no link while the user cancels
    const cancels = scene.session.cancel([generation.slots[cancelled]]);
    if (!isLost) scene.send(cancels);
    else scene.connect();
    await untilEnded(scene, generation);
    const [events] = await collected;
    for (const { index, picture, hasEnded } of generation.slots) {
      expect(hasEnded).toBe(true);
      if (index !== cancelled) expect(picture?.reason).toBe("complete");
      else expect(["complete", "cancelled", undefined]).toContain(picture?.reason);
    }
    expect(events.some(({ type }) => type === "failed")).toBe(false);
  });
});
