/** The messages of `rowcast.v1`: their tables (protocol.md, sections 4 to 7), read and written. */

import {
  array,
  bytes,
  type Fields,
  float,
  int,
  leftOut,
  Malformed,
  nullable,
  optional,
  Reader,
  type RecordOf,
  readFields,
  record,
  type Type,
  text,
  type ValueOf,
  Writer,
  writeFields,
} from "./message-pack.js";

export const SUBPROTOCOL = "rowcast.v1";
export const KEY_BYTES = 16;
export const MAX_STREAM = 65_535;
export const MAX_CLIENT_FRAME_BYTES = 4_096;
export const MAX_SEED = 2 ** 32 - 1;
const FIRST_OPTIONAL_TAG = 32;
const HELLO_BYTES = 2_048;
const SERVER_FRAME_BYTES = 16_384;
const WELCOME_BYTES = 65_536;
const LARGEST_CLIENT_FRAME_BYTES = 1_048_576;
const ANY = Number.MAX_SAFE_INTEGER;

const unsigned8 = int(0, 255);
const unsigned16 = int(0, 65_535);
const unsigned32 = int(0, MAX_SEED);
const anyInt = int(-(2 ** 63), 2 ** 63 - 1024); // the largest below 2⁶³ that a number can be
const side = int(1, 64);
const row = int(0, 64);
const name = text(1, 64);
const key = bytes(KEY_BYTES);
const revision = bytes(8);

/** Bytes of an id: 2 or 4. */
export const idBytes: Type<number> = {
  read(reader: Reader) {
    const value = int(2, 4).read(reader);
    return value === 3 ? reader.fail("2 or 4 is due") : value;
  },
  write: (writer, value) => writer.integer(value),
};

const file = record({
  kind: text(1, 32),
  precision: text(1, 16),
  bytes: int(0, ANY),
  sha256: bytes(32),
  url: text(1, 1_024),
});
const range = record({ default: float, low: float, high: float });
const sampling = record({
  temperature: range,
  topK: range,
  topP: range,
  guidance: range,
  minP: optional(range, { default: 0, low: 0, high: 0 }),
});
const model = record({
  name,
  revision,
  rows: side,
  cols: side,
  pixelsPerToken: side,
  codebookSize: int(1, 2 ** 31 - 1),
  idBytes,
  sampling,
  files: array(file, 0, 32),
  description: optional(text(0, 512), ""),
  examples: optional(array(text(1, 256), 0, 16), []),
});
const limits = record({
  clientFrameBytes: int(MAX_CLIENT_FRAME_BYTES, LARGEST_CLIENT_FRAME_BYTES),
  promptBytes: int(1, 1_048_576),
  images: int(1, 4_096),
  streams: int(1, 65_536),
  graceMs: unsigned32,
  keepMs: unsigned32,
});
const anyFloat = nullable(float);
const optionFields = {
  model: optional(nullable(name), null),
  seed: optional(nullable(anyInt), null),
  firstImage: optional(unsigned16, 0),
  temperature: optional(anyFloat, null),
  topK: optional(nullable(anyInt), null),
  topP: optional(anyFloat, null),
  guidance: optional(anyFloat, null),
  stopRow: optional(nullable(anyInt), null),
  prefix: optional(nullable(bytes()), null),
  revision: optional(nullable(revision), null),
  minP: optional(anyFloat, null),
};
const options = record(optionFields);
export type Options = ValueOf<typeof options>;

/** Of a request that leaves all to the server. */
export const NO_OPTIONS = Object.fromEntries(
  Object.entries(optionFields).map(([name, { otherwise }]) => [name, otherwise]),
) as Options;

export type DetokenizerFile = Readonly<ValueOf<typeof file>>;
export type Range = Readonly<ValueOf<typeof range>>;
export type Model = Readonly<ValueOf<typeof model>>;
export type Limits = Readonly<ValueOf<typeof limits>>;

const FIELDS = {
  hello: { token: nullable(text(0, 1_024)), client: text(0, 128) },
  welcome: { limits, models: array(model, 1, 64) },
  start: {
    stream: unsigned16,
    key,
    prompt: text(),
    images: anyInt,
    options: optional(options, NO_OPTIONS),
  },
  accepted: {
    stream: unsigned16,
    image: unsigned16,
    model: name,
    revision,
    seed: unsigned32,
    rows: side,
    cols: side,
    idBytes,
    firstRow: row,
    position: unsigned32,
    textCut: optional(unsigned16, 0),
    textLost: optional(unsigned16, 0),
  },
  rows: { stream: unsigned16, firstRow: row, ids: bytes(2, SERVER_FRAME_BYTES) },
  done: {
    stream: unsigned16,
    rows: row,
    crc32: unsigned32,
    milliseconds: unsigned32,
    reason: unsigned8,
  },
  error: {
    stream: nullable(unsigned16),
    code: text(1, 32),
    retryMs: unsigned32,
    text: text(0, 1_024),
  },
  cancel: { stream: unsigned16 },
  watch: { stream: unsigned16, viewKey: key, image: unsigned16, rowsHeld: row, crc32: unsigned32 },
  ping: { echo: unsigned32 },
  pong: { echo: unsigned32 },
  goaway: { milliseconds: unsigned32 },
  queued: { stream: unsigned16, position: unsigned32 },
} satisfies Record<string, Fields>;

type AllFields = typeof FIELDS;
export type MessageType = keyof AllFields;
export type Message<T extends MessageType = MessageType> = {
  [type in T]: { type: type } & RecordOf<AllFields[type]>;
}[T];

const TAGS: Record<MessageType, number> = {
  hello: 0,
  welcome: 1,
  start: 2,
  accepted: 3,
  rows: 4,
  done: 5,
  error: 6,
  cancel: 7,
  watch: 8,
  ping: 9,
  pong: 10,
  goaway: 12,
  queued: 13,
};
const FROM_CLIENT = ["hello", "start", "cancel", "watch", "ping", "pong"] as const;
const FROM_SERVER = [
  "welcome",
  "accepted",
  "rows",
  "done",
  "error",
  "ping",
  "pong",
  "goaway",
  "queued",
] as const;
export type ClientMessage = Message<(typeof FROM_CLIENT)[number]>;
export type ServerMessage = Message<(typeof FROM_SERVER)[number]>;

/** A frame that is longer than its sender may send: it is closed 4413. */
export class TooLong extends Malformed {}

/**
 * The message of a server's frame; undefined for one to be ignored.
 *
 * Throws Malformed, or TooLong.
 */
export function decodeServer(frame: Uint8Array): ServerMessage | undefined {
  return decode(frame, FROM_SERVER, SERVER_FRAME_BYTES, "welcome", WELCOME_BYTES);
}

/** As `decodeServer`, of a client's frame. */
export function decodeClient(
  frame: Uint8Array,
  most = MAX_CLIENT_FRAME_BYTES,
): ClientMessage | undefined {
  return decode(frame, FROM_CLIENT, most, "hello", HELLO_BYTES);
}

/** A frame of at most `most` bytes, or `others` where it is an `other`. */
function decode<T extends MessageType>(
  frame: Uint8Array,
  types: readonly T[],
  most: number,
  other: T,
  others: number,
): Message<T> | undefined {
  const check = (limit: number) => {
    if (frame.length > limit) throw new TooLong(`${frame.length} bytes, where ${limit} are most`);
  };
  check(Math.max(most, others));
  const reader: Reader = new Reader(frame);
  const count = reader.array();
  const tag = count > 0 ? reader.integer() : undefined;
  if (tag === undefined) reader.fail("a tag is due");
  const type = types.find((each) => TAGS[each] === tag);
  check(type === other ? others : most);
  let message: Message<T> | undefined;
  if (type !== undefined) {
    message = { type, ...readFields(reader, known(type), count - 1) } as Message<T>;
  } else if (tag >= FIRST_OPTIONAL_TAG) {
    for (let index = 1; index < count; index++) reader.skip(2);
  } else {
    reader.fail(`there is no tag ${tag}`);
  }
  if (reader.at !== frame.length) reader.fail("something follows the message");
  return message;
}

/** The frame of a message. */
export function encode(message: Message): Uint8Array<ArrayBuffer> {
  const fields = known(message.type);
  const values = leftOut(fields, message);
  const writer = new Writer();
  writer.array(1 + values.length);
  writer.integer(TAGS[message.type]);
  writeFields(writer, fields, values);
  return writer.written;
}

function known(type: MessageType): [string, Type<unknown>][] {
  return Object.entries(FIELDS[type]) as [string, Type<unknown>][];
}

const REASONS = ["complete", "stop_row", "cancelled", "deadline", "left"] as const;

/** Why a picture has ended; a number where the server is newer than this client. */
export type DoneReason = (typeof REASONS)[number] | number;

export function doneReason(number: number): DoneReason {
  return REASONS[number] ?? number;
}

export function reasonNumber(reason: DoneReason): number {
  return typeof reason === "number" ? reason : REASONS.indexOf(reason);
}

/** True if a closed connection is worth taking up again; 1006: without a close. */
export function mayReconnect(code: number): boolean {
  return !(code === 1000 || code === 1009 || (code >= 4400 && code < 4500));
}
