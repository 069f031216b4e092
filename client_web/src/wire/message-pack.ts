/**
 * The forms of MessagePack that the wire has, read within bounds and written.
 *
 * Source: the MessagePack specification (github.com/msgpack/msgpack/blob/master/spec.md);
 * protocol.md, R-3, R-7, R-8, R-12 and R-91.
 */

import { ProtocolError } from "./errors.js";

const DEEPEST = 16;
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A number that was written as a float: 7.0, which is not the integer 7. */
export class Float {
  constructor(readonly value: number) {}
}

/**
 * The one value that these bytes are: null, a boolean, a number (an integer; Infinity for one of
 * 2⁶³ or more, which no field can have), a Float, a string, a Uint8Array, an array of these;
 * undefined for a map, an extension, or a string that is not UTF-8.
 *
 * Throws ProtocolError for bytes that are no MessagePack, or more than it. Nothing is allocated
 * for a length before so many bytes are there.
 */
export function unpack(bytes: Uint8Array): unknown {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;

  const fail = (): never => {
    throw new ProtocolError(`no MessagePack at byte ${at}`);
  };
  /** The place of the next so many bytes, which are passed over. */
  const take = (count: number) => {
    if (count > bytes.length - at) fail();
    at += count;
    return at - count;
  };
  /** A whole number of 1, 2, 4 or 8 bytes. */
  const whole = (kind: "Int" | "Uint", size: number) => {
    const first = take(size);
    if (size < 8) return view[`get${kind}${(8 * size) as 8 | 16 | 32}`](first);
    const value = Number(view.getBigInt64(first));
    return kind === "Uint" && view.getInt8(first) < 0 ? Number.POSITIVE_INFINITY : value;
  };
  const unsigned = (size: number) => whole("Uint", size);
  const binary = (length: number) => bytes.slice(take(length), at);
  const text = (length: number) => {
    const utf8 = binary(length);
    try {
      return UTF8.decode(utf8);
    } catch {
      return undefined;
    }
  };
  const array = (count: number, depth: number) => {
    if (depth > DEEPEST || count > bytes.length - at) fail();
    const values: unknown[] = [];
    while (values.length < count) values.push(read(depth));
    return values;
  };
  const ignored = (_: unknown) => undefined;

  const read = (outer: number): unknown => {
    const depth = outer + 1;
    const first = bytes[take(1)];
    if (first < 0x80) return first;
    if (first < 0x90) return ignored(array(2 * (first & 15), depth));
    if (first < 0xa0) return array(first & 15, depth);
    if (first < 0xc0) return text(first & 31);
    if (first >= 0xe0) return first - 0x100;
    if (first === 0xc0) return null;
    if (first === 0xc1) return fail();
    if (first < 0xc4) return first === 0xc3;
    if (first < 0xc7) return binary(unsigned(2 ** (first - 0xc4)));
    if (first < 0xca) return ignored(take(1 + unsigned(2 ** (first - 0xc7))));
    if (first === 0xca) return new Float(view.getFloat32(take(4)));
    if (first === 0xcb) return new Float(view.getFloat64(take(8)));
    if (first < 0xd0) return unsigned(2 ** (first - 0xcc));
    if (first < 0xd4) return whole("Int", 2 ** (first - 0xd0));
    if (first < 0xd9) return ignored(take(1 + 2 ** (first - 0xd4)));
    if (first < 0xdc) return text(unsigned(2 ** (first - 0xd9)));
    if (first < 0xde) return array(unsigned(2 * (first - 0xdb)), depth);
    return ignored(array(2 * unsigned(2 * (first - 0xdd)), depth));
  };

  const value = read(0);
  if (at < bytes.length) fail();
  return value;
}

/**
 * The bytes of a value of null, whole numbers, other numbers (as floats), strings, Uint8Arrays and
 * arrays of these.
 */
export function pack(value: unknown): Uint8Array<ArrayBuffer> {
  const bytes: number[] = [];

  /** A first byte, and a number of 1, 2, 4 or 8 bytes. */
  const head = (first: number, size: number, number: number) => {
    bytes.push(first);
    for (let bits = 8 * (size - 1); bits >= 0; bits -= 8) {
      bytes.push(Math.floor(number / 2 ** bits) & 255); // of a negative one, its complement
    }
  };
  /** A length: within the first byte, or after it, in 1, 2 or 4 bytes. */
  const length = (count: number, within: number, most: number, first: number) => {
    if (count <= most) bytes.push(within | count);
    else if (count < 0x100 && first !== 0xdb) head(first, 1, count);
    else if (count < 0x10000) head(first + 1, 2, count);
    else head(first + 2, 4, count);
  };
  const write = (value: unknown) => {
    if (value === null) bytes.push(0xc0);
    else if (typeof value === "number") {
      if (!Number.isSafeInteger(value)) {
        bytes.push(0xcb);
        const float = new DataView(new ArrayBuffer(8));
        float.setFloat64(0, value);
        bytes.push(...new Uint8Array(float.buffer));
      } else if (value < -32) head(0xd3, 8, value);
      else if (value < 0) bytes.push(value & 255);
      else if (value < 2 ** 32) length(value, 0, 0x7f, 0xcc);
      else head(0xcf, 8, value);
    } else if (typeof value === "string") {
      const text = new TextEncoder().encode(value);
      length(text.length, 0xa0, 31, 0xd9);
      append(text);
    } else if (value instanceof Uint8Array) {
      length(value.length, 0, -1, 0xc4);
      append(value);
    } else {
      const values = value as unknown[];
      length(values.length, 0x90, 15, 0xdb); // there is no array with a length of 1 byte
      values.forEach(write);
    }
  };
  const append = (more: Uint8Array) => {
    for (const byte of more) bytes.push(byte);
  };

  write(value);
  return Uint8Array.from(bytes);
}
