/** The repository's test vectors, and their meanings beside ours. */

import { readFileSync } from "node:fs";

export function vectors<T>(name: string): T {
  return JSON.parse(readFileSync(`../tests/vectors/${name}.json`, "utf-8")) as T;
}

export const unhex = (text: string) => new Uint8Array(Buffer.from(text, "hex"));
export const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

/** A value of ours as the vectors write it: snake_case, bytes in hexadecimal, NaN as "NaN". */
export function meaning(value: unknown): unknown {
  if (value instanceof Uint8Array) return hex(value);
  if (Array.isArray(value)) return value.map(meaning);
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [
      name === "type" ? "message" : name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      meaning(each),
    ]),
  );
}
