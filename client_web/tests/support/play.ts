/** A session whose server is played by hand. */

import { crc32 } from "../../src/wire/crc32.js";
import type { Generation } from "../../src/wire/generation.js";
import { type ClientMessage, decodeClient, encode, type Message } from "../../src/wire/messages.js";
import type { GenerateRequest } from "../../src/wire/requests.js";
import { Session } from "../../src/wire/session.js";
import type { PictureEvent } from "../../src/wire/slot.js";
import { COLS, idsOf, REVISION, ROWS, SEED, type World, welcome } from "./fake-server.js";

/** A session with a server that is played by hand. */
export class Play {
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

export function read(frames: Uint8Array[]): ClientMessage[] {
  return frames.map((frame) => decodeClient(frame, 20_000) as ClientMessage);
}

/** All events, and what was thrown after them. */
export async function all(generation: Generation): Promise<[PictureEvent[], unknown]> {
  const events: PictureEvent[] = [];
  try {
    for await (const event of generation) events.push(event);
  } catch (error) {
    return [events, error];
  }
  return [events, undefined];
}

export const types = (events: PictureEvent[]) => events.map(({ type }) => type);
