/**
 * The forms of MessagePack that the wire has: read within bounds, written in the shortest way.
 *
 * A Type reads and writes one field. Nothing is allocated for a length that is declared before so
 * many bytes are there (protocol.md, R-7, R-8, R-11, R-12, R-91).
 */

/** A frame or a file that does not follow the protocol. */
export class Malformed extends Error {
  override readonly name = "Malformed";
}

export interface Type<T> {
  read(reader: Reader): T;
  write(writer: Writer, value: T): void;
  /** Where a field may be left out at the end. */
  readonly otherwise?: T;
}

export type ValueOf<T> = T extends Type<infer V> ? V : never;
export type Fields = Record<string, Type<never> | Type<unknown>>;
export type RecordOf<F> = { -readonly [name in keyof F]: ValueOf<F[name]> };

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const DEEPEST = 16;
const MOST_INT = 2 ** 63;
const PAIR = /[\uD800-\uDBFF][\uDC00-\uDFFF]/g; // one code point, two units of a string

export class Reader {
  at = 0;
  private readonly view: DataView;

  constructor(readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  fail(why: string): never {
    throw new Malformed(`${why}, at byte ${this.at}`);
  }

  /** The place of the next `count` bytes, which are passed over. */
  private take(count: number): number {
    if (count > this.bytes.length - this.at) this.fail("it is cut short");
    this.at += count;
    return this.at - count;
  }

  byte(): number {
    return this.bytes[this.take(1)];
  }

  /** An unsigned number of `size` bytes. */
  private unsigned(size: number): number {
    const { view } = this;
    const at = this.take(size);
    if (size === 8) return Number(view.getBigUint64(at));
    return size === 4 ? view.getUint32(at) : size === 2 ? view.getUint16(at) : view.getUint8(at);
  }

  private signed(size: number): number {
    const { view } = this;
    const at = this.take(size);
    if (size === 8) return Number(view.getBigInt64(at));
    return size === 4 ? view.getInt32(at) : size === 2 ? view.getInt16(at) : view.getInt8(at);
  }

  /** An integer of any width, or undefined for another type. */
  integer(first = this.byte()): number | undefined {
    if (first < 0x80) return first;
    if (first >= 0xe0) return first - 0x100;
    if (first >= 0xcc && first <= 0xcf) return this.unsigned(2 ** (first - 0xcc));
    if (first >= 0xd0 && first <= 0xd3) return this.signed(2 ** (first - 0xd0));
    return undefined;
  }

  float(): number {
    const first = this.byte();
    if (first === 0xca) return this.view.getFloat32(this.take(4));
    if (first === 0xcb) return this.view.getFloat64(this.take(8));
    const value = this.integer(first);
    if (value === undefined || value >= MOST_INT) this.fail("a number is due");
    return value;
  }

  array(): number {
    const first = this.byte();
    if (first >> 4 === 9) return first & 15;
    if (first === 0xdc) return this.unsigned(2);
    if (first === 0xdd) return this.unsigned(4);
    return this.fail("an array is due");
  }

  text(): string {
    const first = this.byte();
    if (first >> 5 === 5) return this.utf8Of(first & 31);
    if (first >= 0xd9 && first <= 0xdb) return this.utf8Of(this.unsigned(2 ** (first - 0xd9)));
    return this.fail("a string is due");
  }

  private utf8Of(length: number): string {
    const at = this.take(length);
    try {
      return UTF8.decode(this.bytes.subarray(at, at + length));
    } catch {
      return this.fail("a string is not UTF-8");
    }
  }

  binary(): Uint8Array {
    const first = this.byte();
    if (first < 0xc4 || first > 0xc6) this.fail("bytes are due");
    const length = this.unsigned(2 ** (first - 0xc4));
    const at = this.take(length);
    return this.bytes.slice(at, at + length);
  }

  isNil(): boolean {
    if (this.bytes[this.at] !== 0xc0) return false;
    this.at++;
    return true;
  }

  /** Pass over one element of any type. */
  skip(depth = 1): void {
    if (depth > DEEPEST) this.fail("it is nested too deep");
    const first = this.byte();
    if (first < 0x80 || first >= 0xe0 || first === 0xc0 || first === 0xc2 || first === 0xc3) return;
    if (first < 0x90) this.skipAll(2 * (first & 15), depth);
    else if (first < 0xa0) this.skipAll(first & 15, depth);
    else if (first < 0xc0) this.take(first & 31);
    else if (first === 0xc1) this.fail("c1 is no MessagePack");
    else if (first <= 0xc6) this.take(this.unsigned(2 ** (first - 0xc4)));
    else if (first <= 0xc9) this.take(this.unsigned(2 ** (first - 0xc7)) + 1);
    else if (first <= 0xcb) this.take(4 * (first - 0xc9));
    else if (first <= 0xcf) this.take(2 ** (first - 0xcc));
    else if (first <= 0xd3) this.take(2 ** (first - 0xd0));
    else if (first <= 0xd8) this.take(2 ** (first - 0xd4) + 1);
    else if (first <= 0xdb) this.take(this.unsigned(2 ** (first - 0xd9)));
    else if (first <= 0xdd) this.skipAll(this.unsigned(2 * (first - 0xdb)), depth);
    else this.skipAll(2 * this.unsigned(2 * (first - 0xdd)), depth);
  }

  private skipAll(count: number, depth: number): void {
    if (count > this.bytes.length - this.at) this.fail("it is cut short");
    for (let index = 0; index < count; index++) this.skip(depth + 1);
  }
}

export class Writer {
  private bytes = new Uint8Array(256);
  private length = 0;

  get written(): Uint8Array<ArrayBuffer> {
    return this.bytes.slice(0, this.length);
  }

  raw(bytes: ArrayLike<number>): void {
    if (this.length + bytes.length > this.bytes.length) {
      const larger = new Uint8Array(2 * (this.length + bytes.length));
      larger.set(this.bytes);
      this.bytes = larger;
    }
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** A first byte, and a number of `size` bytes. */
  private head(first: number, size: number, value: number): void {
    const bytes = new Uint8Array(1 + size);
    bytes[0] = first;
    for (let at = size, rest = value; at > 0; at--, rest = Math.floor(rest / 256)) bytes[at] = rest;
    this.raw(bytes);
  }

  /** A first byte of `firsts` by how many bytes the number takes: 1, 2 or 4, if there is one. */
  private sized(value: number, byOne: number | undefined, byTwo: number, byFour: number): void {
    if (byOne !== undefined && value < 0x100) this.head(byOne, 1, value);
    else if (value < 0x10000) this.head(byTwo, 2, value);
    else this.head(byFour, 4, value);
  }

  integer(value: number): void {
    if (value >= 0) {
      if (value < 0x80) this.raw([value]);
      else if (value < 2 ** 32) this.sized(value, 0xcc, 0xcd, 0xce);
      else this.head(0xcf, 8, value);
    } else if (value >= -32) this.raw([value + 0x100]);
    else {
      const eight = new DataView(new ArrayBuffer(9));
      eight.setUint8(0, 0xd3);
      eight.setBigInt64(1, BigInt(value));
      this.raw(new Uint8Array(eight.buffer));
    }
  }

  float(value: number): void {
    const view = new DataView(new ArrayBuffer(9));
    view.setUint8(0, 0xcb);
    view.setFloat64(1, value);
    this.raw(new Uint8Array(view.buffer));
  }

  array(count: number): void {
    if (count < 16) this.raw([0x90 | count]);
    else this.sized(count, undefined, 0xdc, 0xdd);
  }

  text(value: string): void {
    const bytes = new TextEncoder().encode(value);
    if (bytes.length < 32) this.raw([0xa0 | bytes.length]);
    else this.sized(bytes.length, 0xd9, 0xda, 0xdb);
    this.raw(bytes);
  }

  binary(value: Uint8Array): void {
    this.sized(value.length, 0xc4, 0xc5, 0xc6);
    this.raw(value);
  }

  nil(): void {
    this.raw([0xc0]);
  }
}

/** A whole number from `low` to `high`; never a float. */
export function int(low: number, high: number): Type<number> {
  return {
    read(reader: Reader) {
      const value = reader.integer();
      if (value === undefined || value < low || value > high) {
        reader.fail(`a whole number from ${low} to ${high} is due`);
      }
      return value;
    },
    write: (writer, value) => writer.integer(value),
  };
}

export const float: Type<number> = {
  read: (reader) => reader.float(),
  write: (writer, value) => writer.float(value),
};

/** Text of so many characters (Unicode code points). */
export function text(least = 0, most = Number.POSITIVE_INFINITY): Type<string> {
  return {
    read(reader: Reader) {
      const value = reader.text();
      const characters = value.length - (value.match(PAIR) ?? []).length;
      if (characters < least || characters > most) {
        reader.fail(`a string of ${least} to ${most} characters is due`);
      }
      return value;
    },
    write: (writer, value) => writer.text(value),
  };
}

export function bytes(least = 0, most = least || Number.POSITIVE_INFINITY): Type<Uint8Array> {
  return {
    read(reader: Reader) {
      const value = reader.binary();
      if (value.length < least || value.length > most) {
        reader.fail(`${least} to ${most} bytes are due`);
      }
      return value;
    },
    write: (writer, value) => writer.binary(value),
  };
}

export function nullable<T>(type: Type<T>): Type<T | null> {
  return {
    read: (reader) => (reader.isNil() ? null : type.read(reader)),
    write: (writer, value) => (value === null ? writer.nil() : type.write(writer, value)),
  };
}

export function array<T>(type: Type<T>, least: number, most: number): Type<T[]> {
  return {
    read(reader: Reader) {
      const count = reader.array();
      if (count < least || count > most) reader.fail(`${least} to ${most} elements are due`);
      const values: T[] = [];
      while (values.length < count) values.push(type.read(reader));
      return values;
    },
    write(writer, values) {
      writer.array(values.length);
      for (const value of values) type.write(writer, value);
    },
  };
}

/** A field that may be left out at the end. */
export function optional<T>(type: Type<T>, otherwise: T): Type<T> {
  return { ...type, otherwise };
}

/** Fields by their places: an array, of which elements beyond those known are passed over. */
export function record<F extends Fields>(fields: F): Type<RecordOf<F>> {
  const known = Object.entries(fields) as [string, Type<unknown>][];
  return {
    read(reader: Reader) {
      return readFields(reader, known, reader.array()) as RecordOf<F>;
    },
    write(writer, value) {
      const values = leftOut(known, value);
      writer.array(values.length);
      writeFields(writer, known, values);
    },
  };
}

/** The fields of an array of which `count` elements follow. */
export function readFields(
  reader: Reader,
  known: [string, Type<unknown>][],
  count: number,
): Record<string, unknown> {
  const value: Record<string, unknown> = {};
  for (const [index, [name, type]] of known.entries()) {
    if (index < count) value[name] = type.read(reader);
    else if ("otherwise" in type) value[name] = type.otherwise;
    else reader.fail(`${name} is missing`);
  }
  for (let index = known.length; index < count; index++) reader.skip(2);
  return value;
}

/** The values to write: without those at the end that are their default. */
export function leftOut(known: [string, Type<unknown>][], value: object): unknown[] {
  const values = known.map(([name, type]) => {
    const own = (value as Record<string, unknown>)[name];
    return own === undefined ? type.otherwise : own;
  });
  const isDefault = (index: number) =>
    "otherwise" in known[index][1] &&
    JSON.stringify(values[index]) === JSON.stringify(known[index][1].otherwise);
  while (values.length > 0 && isDefault(values.length - 1)) values.pop();
  return values;
}

export function writeFields(
  writer: Writer,
  known: [string, Type<unknown>][],
  values: unknown[],
): void {
  for (const [index, value] of values.entries()) known[index][1].write(writer, value);
}
