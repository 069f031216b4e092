import { describe, expect, test } from "vitest";
import { ProtocolError } from "../../src/wire/errors.js";
import { pack, unpack } from "../../src/wire/message-pack.js";
import { decodeClient, decodeServer, encode, NO_OPTIONS } from "../../src/wire/messages.js";
import { randomNumbers } from "../support/random.js";
import { meaning, unhex, vectors } from "../support/vectors.js";

interface Vector {
  name: string;
  from: "client" | "server";
  hex: string;
  valid: boolean;
  meaning: { message: string } | null;
}

const { frames } = vectors<{ frames: Vector[] }>("frames");
const decode = { client: decodeClient, server: decodeServer };

/** The error of a call. */
function thrown(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe("each frame of the vectors, those that a common library fails among them", () => {
  test.each(frames)("$name", (frame) => {
    const bytes = unhex(frame.hex);
    if (!frame.valid) {
      expect(thrown(() => decode[frame.from](bytes))).toBeInstanceOf(ProtocolError);
      return;
    }
    const message = decode[frame.from](bytes);
    expect(meaning(message) ?? null).toEqual(frame.meaning);
    if (message === undefined || message.type === "welcome") return; // which no client writes
    expect(decode[frame.from](encode(message))).toEqual(message); // in widths of ours
  });
});

test("bytes that are cut, changed or random are read or refused", { timeout: 60_000 }, () => {
  const random = randomNumbers(1);
  const seeds = frames.map((frame) => unhex(frame.hex)).filter((bytes) => bytes.length < 500);
  const others: unknown[] = [];
  let read = 0;
  for (let round = 0; round < 10_000; round++) {
    const bytes = seeds[random(seeds.length)].slice();
    for (let change = random(4); change >= 0; change--) bytes[random(bytes.length)] = random(256);
    const cut = random(3) === 0 ? bytes.subarray(0, random(bytes.length + 1)) : bytes;
    for (const side of [decodeClient, decodeServer]) {
      const error = thrown(() => side(cut));
      if (error === undefined) read++;
      else if (!(error instanceof ProtocolError)) others.push(error);
    }
  }
  expect(others).toEqual([]);
  expect(read).toBeGreaterThan(1_000);
});

describe("defaults at the end are left out", () => {
  const key = new Uint8Array(16);
  const start = { type: "start", stream: 0, key, prompt: "a", images: 1 } as const;

  test("all of the options", () => {
    expect(unpack(encode({ ...start, options: NO_OPTIONS }))).toEqual([2, 0, key, "a", 1]);
    expect(unpack(encode({ ...start, options: { ...NO_OPTIONS } }))).toEqual([2, 0, key, "a", 1]);
  });

  test("and those alone", () => {
    const options = { ...NO_OPTIONS, seed: 0 };
    expect(unpack(encode({ ...start, options }))).toEqual([2, 0, key, "a", 1, [null, 0]]);
    const last = encode({ ...start, options: { ...NO_OPTIONS, minP: 0 } });
    expect((unpack(last) as unknown[][])[5]).toHaveLength(11);
  });
});

describe("a frame has a bound, and a longer one is closed 4413", () => {
  test.each([
    ["hello", decodeClient, 0, 2_048],
    ["cancel", decodeClient, 7, 4_096],
    ["welcome", decodeServer, 1, 65_536],
    ["rows", decodeServer, 4, 16_384],
  ] as const)("%s", (_, read, tag, most) => {
    const frame = (length: number) => pack([tag, new Uint8Array(length - 5)]); // 92 TAG c5 LENGTH
    expect(frame(most)).toHaveLength(most);
    expect(thrown(() => read(frame(most + 1)))).toMatchObject({ closeCode: 4413 });
    expect(thrown(() => read(frame(most)))).toMatchObject({ closeCode: 4400 });
  });
});
