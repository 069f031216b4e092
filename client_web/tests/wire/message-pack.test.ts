import { isDeepStrictEqual } from "node:util";
import { decode, Encoder, ExtData, encode } from "@msgpack/msgpack";
import { describe, expect, test } from "vitest";
import { ProtocolError } from "../../src/wire/errors.js";
import { Float, pack, unpack } from "../../src/wire/message-pack.js";
import { randomNumbers } from "../support/random.js";
import { unhex } from "../support/vectors.js";

const LENGTHS = [0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536];
const INTEGERS = [0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1];
const NEGATIVE = [1, 32, 33, 128, 129, 32_768, 32_769, 2 ** 31, 2 ** 31 + 1, 2 ** 53 - 1];
const FLOATS = [0.1, -1.5, 1e300, Number.POSITIVE_INFINITY, Number.NaN, 2 ** 60];
const TEXTS = ["", "\u0000", "ü", "船", "𝛼𝛽", "a".repeat(31), "ü".repeat(16), "x".repeat(70_000)];

/** A value in our terms: floats are told apart. */
function told(value: unknown): unknown {
  if (value instanceof Float) return value.value;
  return Array.isArray(value) ? value.map(told) : value;
}

function randomValue(random: (below: number) => number, depth = 1): unknown {
  const of = <T>(list: readonly T[]) => list[random(list.length)];
  switch (random(depth < 6 ? 8 : 6)) {
    case 0:
      return null;
    case 1:
      return of(INTEGERS);
    case 2:
      return -of(NEGATIVE);
    case 3:
      return of(FLOATS);
    case 4:
      return of(TEXTS.slice(0, 7));
    case 5:
      return Uint8Array.from({ length: of(LENGTHS.slice(0, 8)) }, () => random(256));
    default:
      return Array.from({ length: random(20) }, () => randomValue(random, depth + 1));
  }
}

const random = randomNumbers(7);
const values = [
  ...[null, ...INTEGERS, ...NEGATIVE.map((value) => -value), ...FLOATS, ...TEXTS],
  ...LENGTHS.map((length) => new Uint8Array(length).fill(7)),
  ...LENGTHS.map((length) => new Array(length).fill(null)),
  ...Array.from({ length: 300 }, () => randomValue(random)),
];

test("what we write the reference library reads, and the reverse", { timeout: 60_000 }, () => {
  const asFloats = new Encoder({ forceIntegerToFloat: true });
  for (const value of values) {
    const read = [
      decode(pack(value)),
      ...[pack(value), encode(value), asFloats.encode(value)].map((bytes) => told(unpack(bytes))),
    ];
    expect(read.filter((each) => !isDeepStrictEqual(each, value))).toEqual([]);
  }
});

test("whole numbers and floats are told apart", () => {
  expect(unpack(unhex("07"))).toBe(7);
  expect(unpack(unhex("cb401c000000000000"))).toEqual(new Float(7));
  expect(unpack(unhex("ca40e00000"))).toEqual(new Float(7));
});

test("integers have 64 bits: those that a field cannot have are larger than all", () => {
  expect(unpack(unhex("cf7fffffffffffffff"))).toBe(2 ** 63);
  expect(unpack(unhex("cf8000000000000000"))).toBe(Number.POSITIVE_INFINITY);
  expect(unpack(unhex("d38000000000000000"))).toBe(-(2 ** 63));
});

describe("what no field has is passed over", () => {
  const ignored = [
    ...[1, 2, 4, 8, 16, 3, 300, 70_000].map((size) => new ExtData(5, new Uint8Array(size))),
    { a: 1, b: { c: [1, "x", null] } },
    Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`k${index}`, index])),
    Object.fromEntries(Array.from({ length: 70_000 }, (_, index) => [index, 0])),
  ];

  test.each(ignored.map((value) => [encode(value)]))("%#", (bytes) => {
    expect(unpack(new Uint8Array([0x92, ...bytes, 0x07]))).toEqual([undefined, 7]);
  });
});

describe("what is cut anywhere, or followed by anything, is refused", () => {
  test.each(values.filter((_, index) => index % 5 === 0).map((value) => [pack(value)]))(
    "%#",
    (bytes) => {
      const step = Math.max(1, Math.floor(bytes.length / 50));
      for (let end = 0; end < bytes.length; end += step) {
        expect(() => unpack(bytes.subarray(0, end))).toThrow(ProtocolError);
      }
      expect(() => unpack(new Uint8Array([...bytes, 0xc0]))).toThrow(ProtocolError);
    },
  );
});

test("no memory is taken for a length that is only declared", () => {
  for (const bytes of ["dd7fffffff", "df7fffffff", "c6ffffffff", "dbffffffff", "c9ffffffff05"]) {
    expect(() => unpack(unhex(bytes))).toThrow(ProtocolError);
  }
});

test("16 arrays in each other are read, 17 are not", () => {
  expect(() => unpack(unhex(`${"91".repeat(16)}07`))).not.toThrow();
  expect(() => unpack(unhex(`${"91".repeat(17)}07`))).toThrow(ProtocolError);
  expect(() => unpack(unhex(`${"91".repeat(1_000_000)}07`))).toThrow(ProtocolError);
});

test("a string that is not UTF-8 is none", () => {
  expect(unpack(unhex("92a2c32807"))).toEqual([undefined, 7]);
  expect(unpack(unhex("a3efbbbf"))).toBe("\ufeff");
});
