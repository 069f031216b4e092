import { createHash } from "node:crypto";
import { crc32 as zlibs } from "node:zlib";
import { expect, test } from "vitest";
import { crc32 } from "../../src/wire/crc32.js";
import { sha256 } from "../../src/wire/sha256.js";
import { viewKeyOf } from "../../src/wire/view-key.js";
import { hex, unhex } from "../support/vectors.js";

const bytes = (length: number) => Uint8Array.from({ length }, (_, index) => (index * 7_919) >> 3);

test.each([0, 1, 54, 55, 56, 63, 64, 65, 119, 120, 128, 1_000, 100_000])(
  "SHA-256 of %i bytes is that of Node",
  (length) => {
    const digest = createHash("sha256").update(bytes(length)).digest("hex");
    expect(hex(sha256(bytes(length)))).toBe(digest);
    const within = new Uint8Array([9, ...bytes(length), 9]).subarray(1, length + 1);
    expect(hex(sha256(within))).toBe(digest);
  },
);

test("a CRC-32 goes on from the one before", () => {
  expect(crc32(new Uint8Array())).toBe(0);
  expect(crc32(new TextEncoder().encode("123456789"))).toBe(0xcbf43926);
  const all = bytes(1_000);
  expect(crc32(all.subarray(400), crc32(all.subarray(0, 400)))).toBe(crc32(all));
  if (zlibs) expect(crc32(all)).toBe(zlibs(all));
});

test("the view key is that of the document (R-31)", () => {
  const key = unhex("000102030405060708090a0b0c0d0e0f");
  expect(hex(viewKeyOf(key))).toBe("28a8bd2fe1371aeda1f74be771dd0b93");
});
