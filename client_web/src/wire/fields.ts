/**
 * Types of fields, and records of fields by their places: what a value of MessagePack must be.
 *
 * Source: protocol.md, R-4, R-7, R-8 and R-11.
 */

import { ProtocolError } from "./errors.js";
import { Float } from "./message-pack.js";

/** The value of a field, as it was unpacked, or undefined where it is not of this type. */
export interface Type<T> {
  (value: unknown): T | undefined;
  /** Where the field may be left out at the end. */
  readonly otherwise?: T;
  /** Of a record. */
  readonly fields?: Fields;
}

// biome-ignore lint/suspicious/noExplicitAny: of each field its own
export type Fields = Record<string, Type<any>>;
export type ValueOf<T> = T extends Type<infer V> ? V : never;
export type RecordOf<F> = { -readonly [name in keyof F]: ValueOf<F[name]> };

const PAIR = /[\uD800-\uDBFF][\uDC00-\uDFFF]/g; // one code point, two units of a string
const ANY = Number.POSITIVE_INFINITY;

/** A whole number, never a float. */
export const int =
  (low: number, high: number): Type<number> =>
  (value) =>
    typeof value === "number" && value >= low && value <= high ? value : undefined;

/** A float, or any whole number. */
export const float: Type<number> = (value) =>
  value instanceof Float ? value.value : int(-(2 ** 63), 2 ** 63)(value);

/** Text of so many characters (Unicode code points). */
export const text =
  (least = 0, most = ANY): Type<string> =>
  (value) => {
    if (typeof value !== "string") return undefined;
    const characters = value.length - (value.match(PAIR)?.length ?? 0);
    return characters >= least && characters <= most ? value : undefined;
  };

/** So many bytes; exactly `least` where no more is said. */
export const bytes =
  (least: number, most = least): Type<Uint8Array> =>
  (value) =>
    value instanceof Uint8Array && value.length >= least && value.length <= most
      ? value
      : undefined;

export const nullable =
  <T>(type: Type<T>): Type<T | null> =>
  (value) =>
    value === null ? null : type(value);

export const array =
  <T>(type: Type<T>, least: number, most: number): Type<T[]> =>
  (value) => {
    if (!Array.isArray(value) || value.length < least || value.length > most) return undefined;
    const values = value.map(type);
    return values.includes(undefined) ? undefined : (values as T[]);
  };

/** A field that may be left out at the end. */
export const optional = <T>(type: Type<T>, otherwise: T): Type<T> =>
  Object.assign((value: unknown) => type(value), { otherwise, fields: type.fields as Fields });

/** Fields by their places: an array, of which elements beyond those known are passed over. */
export const record = <F extends Fields>(fields: F): Type<RecordOf<F>> =>
  Object.assign(
    (value: unknown) => (Array.isArray(value) ? readFields(fields, value) : undefined),
    { fields },
  );

/** Throws ProtocolError for a field that is missing, or that is not of its type. */
export function readFields<F extends Fields>(fields: F, values: unknown[]): RecordOf<F> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, type], index) => {
      const value = index < values.length ? type(values[index]) : type.otherwise;
      if (value === undefined) throw new ProtocolError(`${name} is missing or wrong`);
      return [name, value];
    }),
  ) as RecordOf<F>;
}

/** The elements of a record, to be packed: without those at the end that are their default. */
export function elements(fields: Fields, record: object): unknown[] {
  const types = Object.values(fields);
  const values = Object.entries(fields).map(([name, type]) => {
    const { [name]: value = type.otherwise } = record as Record<string, unknown>;
    return type.fields ? elements(type.fields, value as object) : value;
  });
  const isDefault = (value: unknown, { otherwise }: Type<unknown>) =>
    value === otherwise || (otherwise !== undefined && Array.isArray(value) && value.length === 0);
  while (values.length > 0 && isDefault(values.at(-1), types[values.length - 1])) values.pop();
  return values;
}
