/** The .rows file: a picture's ids and what determines them (protocol.md, section 9). */

import { crc32 } from "./crc32.js";
import { RowsFileError } from "./errors.js";
import {
  bytes,
  elements,
  float,
  int,
  nullable,
  optional,
  record,
  text,
  type ValueOf,
} from "./fields.js";
import { pack, unpack } from "./message-pack.js";
import {
  doneReason,
  idBytes,
  type Model,
  reasonNumber,
  side,
  unsigned16,
  unsigned32,
} from "./messages.js";
import { Grid, type Picture, type Sampling, samplingOf } from "./picture.js";

const BEGINNING = [0x52, 0x4f, 0x57, 0x53, 1]; // ROWS, and the version
const MAX_BYTES = 81_920;
const NOT_ENDED = 255;

const TABLE = record({
  model: text(1, 64),
  revision: bytes(8),
  prompt: text(),
  seed: unsigned32,
  image: unsigned16,
  temperature: float,
  topK: unsigned32,
  topP: float,
  guidance: float,
  rows: side,
  cols: side,
  idBytes,
  detokenizer: nullable(bytes(32)),
  reason: int(0, 255),
  ids: bytes(0, 16_384),
  minP: optional(float, 0),
});

/** A picture that was saved: its ids and its recipe. */
export class SavedPicture extends Grid {
  /** The name of its model. */
  declare readonly model: string;
  declare readonly revision: Uint8Array;
  /** Empty of one that was only watched, as its sampling is 0. */
  declare readonly prompt: string;
  declare readonly seed: number;
  declare readonly image: number;
  /** SHA-256 of the full decoder's file that its writer chose. */
  declare readonly detokenizer: Uint8Array | null;
  readonly sampling: Sampling;

  /** Read a file. Throws RowsFileError, saying what is wrong. */
  constructor(file: Uint8Array) {
    const values = read(new Uint8Array(file)); // a Buffer of Node.js does not read as one
    super(values.rows, values.cols, values.idBytes);
    const { model, revision, prompt, seed, image, detokenizer, reason, ids } = values;
    Object.assign(this, { model, revision, prompt, seed, image, detokenizer });
    this.sampling = samplingOf((name) => values[name]);
    refusing(() => this.addRows(0, ids));
    if (reason !== NOT_ENDED) this.reason = doneReason(reason);
  }
}

function read(file: Uint8Array): ValueOf<typeof TABLE> {
  if (file.length > MAX_BYTES) fail(`${file.length} bytes are too many`);
  if (BEGINNING.some((byte, index) => file[index] !== byte)) {
    fail("it does not begin with ROWS and version 1");
  }
  const body = file.subarray(0, -4);
  if (String(file.subarray(-4)) !== String(checksum(body))) fail("it is damaged, or cut short");
  return refusing(() => TABLE(unpack(body.subarray(5)))) ?? fail("it holds no array");
}

function refusing<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    return fail((error as Error).message);
  }
}

function fail(why: string): never {
  throw new RowsFileError(`this is no .rows file: ${why}`);
}

/**
 * A picture, whole or as far as it came, as the bytes of a file. Throws RowsFileError where the
 * prompt is too long for one.
 */
export function rowsFile(picture: Picture | SavedPicture): Uint8Array<ArrayBuffer> {
  const { reason, sampling, model } = picture;
  const values = elements(TABLE.fields ?? {}, {
    ...picture,
    ...sampling,
    ...(typeof model === "object" && { model: model.name, detokenizer: chosenBy(model) }),
    reason: reason === undefined ? NOT_ENDED : reasonNumber(reason),
    ids: picture.prefix(),
  });
  const body = Uint8Array.from([...BEGINNING, ...pack(values)]);
  if (body.length + 4 > MAX_BYTES) fail("its prompt is too long");
  return Uint8Array.from([...body, ...checksum(body)]);
}

/** CRC-32, little-endian. */
function checksum(body: Uint8Array): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(4));
  bytes.setUint32(0, crc32(body), true);
  return new Uint8Array(bytes.buffer);
}

/** SHA-256 of the full decoder's file: the first precision there is. */
function chosenBy({ files }: Model): Uint8Array | null {
  const full = files.filter(({ kind }) => kind === "full");
  const found = ["fp32", "fp16", "int8"].flatMap((precision) =>
    full.filter((file) => file.precision === precision),
  );
  return found[0]?.sha256 ?? null;
}
