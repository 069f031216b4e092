/** A picture as a grid of token ids that grows row by row, and what determines it. */

import { crc32 } from "./crc32.js";
import { ProtocolError } from "./errors.js";
import type { DoneReason, Message, Model } from "./messages.js";

/** The sampling parameters, defaults filled in. */
export interface Sampling {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly guidance: number;
  readonly minP: number;
}

/** Of a watched picture, whose sampling nobody tells. */
export const UNKNOWN_SAMPLING: Sampling = {
  temperature: 0,
  topK: 0,
  topP: 0,
  guidance: 0,
  minP: 0,
};

/** Rows of ids as they have arrived: whole rows from the top. */
export class Grid {
  /** [rows, cols]; 0 in rows that are not held. The same array grows in place. */
  readonly ids: Uint32Array<ArrayBuffer>;
  rowsHeld = 0;
  /** CRC-32 of the ids held. */
  checksum = 0;
  /** Why no more rows come; undefined while they do. */
  reason: DoneReason | undefined;

  constructor(
    readonly rows: number,
    readonly cols: number,
    readonly idBytes: number,
    private readonly codebookSize = 2 ** 32,
  ) {
    this.ids = new Uint32Array(rows * cols);
  }

  /**
   * Append whole rows of little-endian ids. Throws ProtocolError for rows that skip, repeat, split
   * or overflow, and for an id beyond the codebook.
   */
  addRows(firstRow: number, bytes: Uint8Array): void {
    const { cols, idBytes, ids, rows, rowsHeld } = this;
    const count = bytes.length / (cols * idBytes);
    if (!Number.isInteger(count) || count === 0) {
      throw new ProtocolError(`${bytes.length} bytes of ids are no whole rows`);
    }
    if (firstRow !== rowsHeld) {
      throw new ProtocolError(`row ${firstRow} arrived where row ${rowsHeld} was due`);
    }
    if (firstRow + count > rows) {
      throw new ProtocolError(`row ${firstRow + count - 1} of a grid of ${rows} rows`);
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const begin = firstRow * cols;
    for (let index = 0; index < count * cols; index++) {
      const at = index * idBytes;
      const id = idBytes === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
      if (id >= this.codebookSize) {
        throw new ProtocolError(`the id ${id} in a codebook of ${this.codebookSize}`);
      }
      ids[begin + index] = id;
    }
    this.rowsHeld += count;
    this.checksum = crc32(bytes, this.checksum);
  }

  /** The first rows as bytes of the wire: what a `prefix` is, to go on from. */
  prefix(rows = this.rowsHeld): Uint8Array<ArrayBuffer> {
    const count = rows * this.cols;
    const view = new DataView(new ArrayBuffer(count * this.idBytes));
    for (let index = 0; index < count; index++) {
      const at = index * this.idBytes;
      if (this.idBytes === 2) view.setUint16(at, this.ids[index], true);
      else view.setUint32(at, this.ids[index], true);
    }
    return new Uint8Array(view.buffer);
  }
}

/** A picture of a server, as far as it has come. */
export class Picture extends Grid {
  position: number;
  /** From the server's acceptance to the last row; once it has ended. */
  milliseconds = 0;
  readonly revision: Uint8Array;
  readonly seed: number;
  readonly image: number;
  /** Tokens of the prompt that were not used. */
  readonly textCut: number;
  /** Characters of the prompt that the model cannot read. */
  readonly textLost: number;

  constructor(
    /** Its number in the request. */
    readonly index: number,
    accepted: Omit<Message<"accepted">, "type" | "stream" | "firstRow">,
    readonly model: Model,
    /** Empty where it is only watched: nobody tells it. */
    readonly prompt: string,
    readonly sampling: Sampling,
    /** By which anybody may watch it. */
    readonly viewKey: Uint8Array,
    /** False where it is only watched. */
    readonly isOwn: boolean,
  ) {
    super(accepted.rows, accepted.cols, accepted.idBytes, model.codebookSize);
    this.position = accepted.position;
    this.revision = accepted.revision;
    this.seed = accepted.seed;
    this.image = accepted.image;
    this.textCut = accepted.textCut;
    this.textLost = accepted.textLost;
  }
}

/** True if two byte strings are equal. */
export function same(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}
