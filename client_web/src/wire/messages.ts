/** The messages of `rowcast.v1`: their tables (protocol.md, sections 4 to 7), read and written. */

import { ProtocolError } from "./errors.js";
import {
  array,
  bytes,
  elements,
  type Fields,
  float,
  int,
  nullable,
  optional,
  type RecordOf,
  readFields,
  record,
  type Type,
  text,
  type ValueOf,
} from "./fields.js";
import { pack, unpack } from "./message-pack.js";

export const SUBPROTOCOL = "rowcast.v1";
export const KEY_BYTES = 16;
export const MAX_STREAM = 65_535;
export const MAX_SEED = 2 ** 32 - 1;
const FIRST_OPTIONAL_TAG = 32;
const MAX_SERVER_FRAME_BYTES = 16_384;
const MAX_WELCOME_BYTES = 65_536;
const MAX_CLIENT_FRAME_BYTES = 4_096;
const MAX_HELLO_BYTES = 2_048;

export const unsigned16 = int(0, 65_535);
export const unsigned32 = int(0, MAX_SEED);
const anyInt = int(-(2 ** 63), 2 ** 63);
export const side = int(1, 64);
const row = int(0, 64);
const name = text(1, 64);
const key = bytes(KEY_BYTES);
const revision = bytes(8);

/** Bytes of an id. */
export const idBytes: Type<number> = (value) => (value === 2 || value === 4 ? value : undefined);

const file = record({
  kind: text(1, 32),
  precision: text(1, 16),
  bytes: int(0, Number.MAX_SAFE_INTEGER),
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
  clientFrameBytes: int(MAX_CLIENT_FRAME_BYTES, 1_048_576),
  promptBytes: int(1, 1_048_576),
  images: int(1, 4_096),
  streams: int(1, 65_536),
  graceMs: unsigned32,
  keepMs: unsigned32,
});
const orNone = <T>(type: Type<T>) => optional(nullable(type), null);
const options = record({
  model: orNone(name),
  seed: orNone(anyInt),
  firstImage: optional(unsigned16, 0),
  temperature: orNone(float),
  topK: orNone(anyInt),
  topP: orNone(float),
  guidance: orNone(float),
  stopRow: orNone(anyInt),
  prefix: orNone(bytes(0, Number.POSITIVE_INFINITY)),
  revision: orNone(revision),
  minP: orNone(float),
});
export type Options = ValueOf<typeof options>;

/** Of a request that leaves all to the server. */
export const NO_OPTIONS = options([]) as Options;

export type DetokenizerFile = Readonly<ValueOf<typeof file>>;
export type Range = Readonly<ValueOf<typeof range>>;
export type Model = Readonly<ValueOf<typeof model>>;
export type Limits = Readonly<ValueOf<typeof limits>>;

/** In the order of their tags, of which 11 is not used. */
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
  rows: { stream: unsigned16, firstRow: row, ids: bytes(2, MAX_SERVER_FRAME_BYTES) },
  done: {
    stream: unsigned16,
    rows: row,
    crc32: unsigned32,
    milliseconds: unsigned32,
    reason: int(0, 255),
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

const TYPES = Object.keys(FIELDS) as MessageType[];
const OF_CLIENT = ["hello", "start", "cancel", "watch"] as const;
const OF_SERVER = ["welcome", "accepted", "rows", "done", "error", "goaway", "queued"] as const;
export type ClientMessage = Message<(typeof OF_CLIENT)[number] | "ping" | "pong">;
export type ServerMessage = Message<(typeof OF_SERVER)[number] | "ping" | "pong">;
export type Frame = Uint8Array<ArrayBuffer>;

const tagOf = (type: MessageType) => TYPES.indexOf(type) + Number(TYPES.indexOf(type) > 10);

/**
 * The message of a server's frame; undefined for one to be ignored.
 *
 * Throws ProtocolError, with the code to close with.
 */
export function decodeServer(frame: Uint8Array): ServerMessage | undefined {
  return decode(frame, OF_CLIENT, "welcome", MAX_WELCOME_BYTES, MAX_SERVER_FRAME_BYTES);
}

/** As `decodeServer`, of a client's frame of at most `most` bytes. */
export function decodeClient(
  frame: Uint8Array,
  most = MAX_CLIENT_FRAME_BYTES,
): ClientMessage | undefined {
  return decode(frame, OF_SERVER, "hello", MAX_HELLO_BYTES, most);
}

/** A frame of the side that does not send `others`; its `first` one has another bound. */
function decode<T extends MessageType>(
  frame: Uint8Array,
  others: readonly MessageType[],
  first: MessageType,
  mostOfFirst: number,
  most: number,
): Message<T> | undefined {
  const check = (limit: number) => {
    if (frame.length <= limit) return;
    throw new ProtocolError(`${frame.length} bytes are more than ${limit}`, 4413);
  };
  check(Math.max(most, mostOfFirst));
  const values = unpack(frame);
  const [tag, ...rest] = Array.isArray(values) ? values : [];
  const type = TYPES.find((each) => tagOf(each) === tag && !others.includes(each));
  check(type === first ? mostOfFirst : most);
  if (type) return { type, ...readFields(FIELDS[type], rest) } as unknown as Message<T>;
  if (typeof tag === "number" && tag >= FIRST_OPTIONAL_TAG) return undefined;
  throw new ProtocolError(`there is no tag ${tag}`);
}

/** The frame of a message; of a server's as well, but for `welcome`. */
export function encode(message: Message): Frame {
  return pack([tagOf(message.type), ...elements(FIELDS[message.type], message)]);
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
