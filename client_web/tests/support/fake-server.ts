/** A server of the protocol without a socket, a clock or a model: it draws when it is told to. */

import { crc32 } from "../../src/wire/crc32.js";
import { pack } from "../../src/wire/message-pack.js";
import {
  type ClientMessage,
  decodeClient,
  encode,
  type Frame,
  type Message,
} from "../../src/wire/messages.js";
import { viewKeyOf } from "../../src/wire/view-key.js";
import { hex } from "./vectors.js";

export const REVISION = Uint8Array.of(0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88);
export const [ROWS, COLS, CODEBOOK, SEED] = [6, 4, 1_000, 7];
const RANGES = [
  [1, 0.01, 8],
  [256, 0, 1_000],
  [1, 0.01, 1],
  [16, 1, 64],
  [0, 0, 1],
];

export interface World {
  readonly name?: string;
  readonly revision?: Uint8Array;
  readonly clientFrameBytes?: number;
  readonly idBytes?: number;
  readonly codebook?: number;
  readonly sampling?: unknown[];
}

/** The frame of a `welcome` with one model. */
export function welcome(world: World = {}, ...others: World[]): Frame {
  const model = ({
    name = "tiny",
    revision = REVISION,
    idBytes = 2,
    codebook = CODEBOOK,
    sampling = RANGES,
  }: World) => [
    ...[name, revision, ROWS, COLS, 16, codebook, idBytes, sampling],
    [["full", "int8", 12, new Uint8Array(32).fill(1), "/full.onnx"]],
    ...["draws boats", ["a red boat"]],
  ];
  const limits = [world.clientFrameBytes ?? 4_096, 1_024, 16, 64, 60_000, 600_000];
  return pack([1, limits, [world, ...others].map(model)]);
}

/** The bytes of rows `first` to `last`, exclusive, of an image of a seed. */
export function idsOf(first: number, last: number, image = 0, seed = SEED): Uint8Array {
  const ids = Array.from(
    { length: (last - first) * COLS },
    (_, index) => (31 * seed + 101 * image + 7 * (first * COLS + index)) % CODEBOOK,
  );
  return Uint8Array.from(ids.flatMap((id) => [id & 255, id >> 8]));
}

interface Drawn {
  readonly image: number;
  readonly seed: number;
  readonly wanted: number;
  rows: number;
  end: number | undefined;
}

interface Open {
  readonly drawn: Drawn;
  readonly isOwner: boolean;
  told: number;
}

/** What has pictures, and may forget them. */
export class FakeServer {
  private readonly pictures = new Map<string, Drawn>();
  /** Requests that it is still too busy for. */
  busyFor = 0;
  starts = 0;

  forget(): void {
    this.pictures.clear();
  }

  /** Draw a row of each picture. */
  draw(): void {
    for (const drawn of this.pictures.values()) {
      if (drawn.end !== undefined) continue;
      if (drawn.rows < drawn.wanted) drawn.rows++;
      if (drawn.rows === drawn.wanted) drawn.end = drawn.wanted === ROWS ? 0 : 1;
    }
  }

  known(viewKey: Uint8Array, image: number): Drawn | undefined {
    return this.pictures.get(hex(viewKey) + image);
  }

  start({ key, options }: Message<"start">, image: number): Drawn {
    const viewKey = viewKeyOf(key);
    const known = this.known(viewKey, image);
    if (known) return known;
    this.starts++;
    const rows = (options.prefix?.length ?? 0) / (2 * COLS);
    const [seed, wanted] = [options.seed ?? SEED, options.stopRow ?? ROWS];
    const drawn = { image, seed, wanted, rows, end: undefined };
    this.pictures.set(hex(viewKey) + image, drawn);
    return drawn;
  }
}

/** One connection to it. Throws Error where a client does what no client may. */
export class FakeConnection {
  readonly toClient: Frame[] = [];
  isGoingAway = false;
  private isGreeted = false;
  private readonly goaway = encode({ type: "goaway", milliseconds: 1_000 });
  private readonly streams = new Map<number, Open>();

  constructor(
    private readonly server: FakeServer,
    private readonly world: World = {},
  ) {}

  take(frame: Uint8Array): void {
    const message = decodeClient(frame, this.world.clientFrameBytes);
    if ((message?.type === "hello") === this.isGreeted) throw new Error("hello comes first, once");
    if (message) this.answer(message);
  }

  goAway(): void {
    this.isGoingAway = true;
    this.toClient.push(this.goaway);
  }

  /** Tell what is new on each stream. */
  tell(): void {
    for (const [stream, open] of this.streams) {
      const { drawn, told } = open;
      if (told < drawn.rows) {
        const ids = idsOf(told, drawn.rows, drawn.image, drawn.seed);
        this.send({ type: "rows", stream, firstRow: told, ids });
        open.told = drawn.rows;
      }
      if (drawn.end !== undefined) this.end(stream, open, drawn.end);
    }
  }

  private answer(message: ClientMessage): void {
    switch (message.type) {
      case "hello":
        this.isGreeted = true;
        this.toClient.push(welcome(this.world));
        break;
      case "start":
        if (this.isGoingAway && !this.toClient.includes(this.goaway)) {
          throw new Error("a start after goaway");
        }
        for (let index = 0; index < message.images; index++) {
          const image = message.options.firstImage + index;
          this.open(message.stream + index, image, message.options.prefix, () =>
            this.server.start(message, image),
          );
        }
        break;
      case "watch": {
        const { stream, viewKey, image, rowsHeld, crc32: sum } = message;
        const known = this.server.known(viewKey, image);
        const isKnown =
          known && rowsHeld <= known.rows && sum === crc32(idsOf(0, rowsHeld, image, known.seed));
        if (!isKnown) this.refuse(stream, "gone", 0);
        else this.open(stream, image, idsOf(0, rowsHeld), () => known, false);
        break;
      }
      case "cancel": {
        const open = this.streams.get(message.stream);
        if (open?.isOwner) open.drawn.end ??= 2;
        else if (open) this.end(message.stream, open, 4);
        break;
      }
      case "ping":
        this.send({ type: "pong", echo: message.echo });
    }
  }

  private open(
    stream: number,
    image: number,
    prefix: Uint8Array | null,
    find: () => Drawn,
    isOwner = true,
  ): void {
    if (this.streams.has(stream)) throw new Error(`stream ${stream} is open: 4409`);
    if (isOwner && (this.server.busyFor > 0 || this.isGoingAway)) {
      if (this.server.busyFor > 0) this.server.busyFor--;
      this.refuse(stream, "busy", 300);
      return;
    }
    const drawn = find();
    const firstRow = (prefix?.length ?? 0) / (2 * COLS);
    this.send({
      ...{ type: "accepted", stream, image, model: "tiny", revision: REVISION, seed: drawn.seed },
      ...{ rows: ROWS, cols: COLS, idBytes: 2, firstRow, position: 0, textCut: 0, textLost: 3 },
    });
    this.streams.set(stream, { drawn, isOwner, told: firstRow });
  }

  private refuse(stream: number, code: string, retryMs: number): void {
    this.send({ type: "error", stream, code, retryMs, text: "" });
  }

  private end(stream: number, { told, drawn }: Open, reason: number): void {
    const sum = crc32(idsOf(0, told, drawn.image, drawn.seed));
    this.send({ type: "done", stream, rows: told, crc32: sum, milliseconds: 5, reason });
    this.streams.delete(stream);
  }

  private send(message: Message): void {
    this.toClient.push(encode(message));
  }
}
