/** The .rows file: a picture's ids and what determines them (protocol.md, section 9). */

import { crc32 } from "./crc32.js";
import { RowcastError } from "./errors.js";
import {
  bytes,
  float,
  int,
  nullable,
  optional,
  Reader,
  record,
  text,
  Writer,
} from "./message-pack.js";
import { doneReason, idBytes, MAX_SEED, type Model, reasonNumber } from "./messages.js";
import { Grid, type Picture, type Sampling } from "./picture.js";

const MAGIC = [0x52, 0x4f, 0x57, 0x53]; // ROWS
const VERSION = 1;
const MAX_BYTES = 81_920;
const NOT_ENDED = 255;
const unsigned32 = int(0, MAX_SEED);
const side = int(1, 64);

const TABLE = record({
  model: text(1, 64),
  revision: bytes(8),
  prompt: text(),
  seed: unsigned32,
  image: int(0, 65_535),
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

/** A file is no .rows file, or is damaged. */
export class RowsFileError extends RowcastError {}

/** A picture that was saved: its ids and its recipe. */
export class SavedPicture extends Grid {
  /** The name of its model. */
  readonly model: string;
  readonly revision: Uint8Array;
  readonly prompt: string;
  readonly seed: number;
  readonly image: number;
  readonly sampling: Sampling;
  /** SHA-256 of the full decoder's file that its writer chose. */
  readonly detokenizer: Uint8Array | null;

  /** Read a file. Throws RowsFileError, saying what is wrong. */
  constructor(file: Uint8Array) {
    const values = read(file);
    super(values.rows, values.cols, values.idBytes);
    const { temperature, topK, topP, guidance, minP } = values;
    this.model = values.model;
    this.revision = values.revision;
    this.prompt = values.prompt;
    this.seed = values.seed;
    this.image = values.image;
    this.sampling = { temperature, topK, topP, guidance, minP };
    this.detokenizer = values.detokenizer;
    try {
      if (values.ids.length > 0) this.addRows(0, values.ids);
    } catch (error) {
      throw new RowsFileError(`the file does not follow the format: ${(error as Error).message}`);
    }
    if (values.reason !== NOT_ENDED) this.reason = doneReason(values.reason);
  }
}

function read(file: Uint8Array): ReturnType<typeof TABLE.read> {
  const fail = (why: string): never => {
    throw new RowsFileError(why);
  };
  if (file.length > MAX_BYTES) fail(`${file.length} bytes are too many for a .rows file`);
  if (MAGIC.some((byte, index) => file[index] !== byte)) fail("this is no .rows file");
  if (file.length < 10) fail("the file is cut short");
  if (file[4] !== VERSION) fail(`version ${file[4]} of the format; this reads ${VERSION}`);
  const body = file.subarray(0, -4);
  const checksum = new DataView(file.buffer, file.byteOffset + body.length).getUint32(0, true);
  if (crc32(body) !== checksum) fail("the checksum is wrong: the file is damaged or cut short");
  const reader = new Reader(body.subarray(5));
  try {
    const values = TABLE.read(reader);
    if (reader.at !== reader.bytes.length) reader.fail("something follows the array");
    return values;
  } catch (error) {
    return fail(`the file does not follow the format: ${(error as Error).message}`);
  }
}

/** A picture, whole or as far as it came, as the bytes of a file. */
export function rowsFile(picture: Picture | SavedPicture): Uint8Array<ArrayBuffer> {
  const { reason, sampling, revision, prompt, seed, image, rows, cols, idBytes } = picture;
  const isSaved = picture instanceof SavedPicture;
  const writer = new Writer();
  writer.raw([...MAGIC, VERSION]);
  TABLE.write(writer, {
    ...{ revision, prompt, seed, image, rows, cols, idBytes, ...sampling },
    model: isSaved ? picture.model : picture.model.name,
    detokenizer: isSaved ? picture.detokenizer : chosenBy(picture.model),
    reason: reason === undefined ? NOT_ENDED : reasonNumber(reason),
    ids: picture.prefix(),
  });
  const checksum = new DataView(new ArrayBuffer(4));
  checksum.setUint32(0, crc32(writer.written), true);
  writer.raw(new Uint8Array(checksum.buffer));
  return writer.written;
}

/** The full decoder's file: the first precision there is. */
function chosenBy({ files }: Model): Uint8Array | null {
  const full = files.filter(({ kind }) => kind === "full");
  const found = ["fp32", "fp16", "int8"]
    .map((precision) => full.find((file) => file.precision === precision))
    .find((file) => file !== undefined);
  return found?.sha256 ?? null;
}
