import { decode as oracle } from "@msgpack/msgpack";
import { describe, expect, test } from "vitest";
import { Malformed } from "../../src/wire/message-pack.js";
import {
  type ClientMessage,
  decodeClient,
  decodeServer,
  encode,
  type Message,
  NO_OPTIONS,
  TooLong,
} from "../../src/wire/messages.js";
import { meaning, unhex, vectors } from "../support/vectors.js";

interface Vector {
  name: string;
  from: "client" | "server";
  hex: string;
  valid: boolean;
  meaning: unknown;
}

const { frames } = vectors<{ frames: Vector[] }>("frames");
const decode = { client: decodeClient, server: decodeServer };

describe("each frame of the vectors", () => {
  test.each(frames)("$name", (frame) => {
    const bytes = unhex(frame.hex);
    if (!frame.valid) {
      expect(() => decode[frame.from](bytes)).toThrow(Malformed);
      return;
    }
    const message = decode[frame.from](bytes);
    expect(meaning(message) ?? null).toEqual(frame.meaning ?? null);
    if (message !== undefined) {
      expect(decode[frame.from](encode(message))).toEqual(message); // in widths of ours
    }
  });
});

describe("bytes that are cut, changed or random are read or refused", () => {
  test("and never hang or fail otherwise", () => {
    let state = 1;
    const random = (below: number) => {
      state = (state * 48_271) % 2_147_483_647;
      return state % below;
    };
    const seeds = frames.map((frame) => unhex(frame.hex)).filter((bytes) => bytes.length < 500);
    for (let round = 0; round < 20_000; round++) {
      const bytes = seeds[random(seeds.length)].slice();
      for (let change = random(4); change >= 0; change--) bytes[random(bytes.length)] = random(256);
      const cut = random(3) === 0 ? bytes.subarray(0, random(bytes.length + 1)) : bytes;
      for (const read of [decodeClient, decodeServer]) {
        try {
          read(cut);
        } catch (error) {
          expect(error).toBeInstanceOf(Malformed);
        }
      }
    }
  });
});

describe("what is written is MessagePack", () => {
  const key = Uint8Array.from({ length: 16 }, (_, index) => index);
  const written: ClientMessage[] = [
    { type: "hello", token: "ü".repeat(500), client: "x" },
    { type: "start", stream: 65_535, key, prompt: "", images: 3, options: NO_OPTIONS },
    ...[-1, -33, -(2 ** 40), 127, 128, 255, 256, 65_536, 2 ** 32, 2 ** 53 - 1].map(
      (seed): Message<"start"> => ({
        type: "start",
        stream: 0,
        key,
        prompt: "p".repeat(31 + Math.abs(seed % 7)),
        images: 1,
        options: { ...NO_OPTIONS, seed, guidance: 3.5, prefix: new Uint8Array(300) },
      }),
    ),
  ];

  test.each(written)("$type", (message) => {
    const frame = encode(message);
    const fields = oracle(frame, { maxArrayLength: 16, maxBinLength: 4_096 }) as unknown[];
    expect(decodeClient(frame)).toEqual(message);
    if (message.type === "start" && message.options.seed !== null) {
      expect(fields.slice(0, 5)).toEqual([2, 0, key, message.prompt, 1]);
      const options = fields[5] as unknown[];
      expect([options[1], options[6], options[8]]).toEqual([
        message.options.seed,
        3.5,
        new Uint8Array(300),
      ]);
    }
  });

  test("defaults at the end are left out", () => {
    const start = { type: "start", stream: 0, key, prompt: "a", images: 1 } as const;
    expect(oracle(encode({ ...start, options: NO_OPTIONS }))).toEqual([2, 0, key, "a", 1]);
  });
});

describe("a frame has a bound", () => {
  test.each([
    ["hello", decodeClient, 0, 2_048],
    ["cancel", decodeClient, 7, 4_096],
    ["welcome", decodeServer, 1, 65_536],
    ["rows", decodeServer, 4, 16_384],
  ] as const)("%s", (_, read, tag, most) => {
    const frame = (length: number) => {
      const bytes = new Uint8Array(length);
      bytes.set([0x95, tag]);
      return bytes;
    };
    expect(() => read(frame(most + 1))).toThrow(TooLong);
    expect(() => read(frame(most))).not.toThrow(TooLong);
  });
});
