/** A picture as a grid of token ids that grows row by row, and what determines it. */

import { crc32 } from "./crc32.js";
import { InvalidRequest, ProtocolError } from "./errors.js";
import type { DoneReason, Message, Model, Options } from "./messages.js";

export const SAMPLING = ["temperature", "topK", "topP", "guidance", "minP"] as const;

/** The sampling parameters, defaults filled in; of a watched picture they are 0. */
export type Sampling = Readonly<Record<(typeof SAMPLING)[number], number>>;

/** Each sampling parameter, as a function says. */
export function samplingOf(value: (name: keyof Sampling) => number): Sampling {
  return Object.fromEntries(SAMPLING.map((name) => [name, value(name)])) as Sampling;
}

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
    if (!Number.isInteger(count) || firstRow !== rowsHeld || rowsHeld + count > rows) {
      throw new ProtocolError(
        `${bytes.length} bytes of row ${firstRow}, where row ${rowsHeld} of ${rows} was due`,
      );
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    for (let index = 0; index < count * cols; index++) {
      const at = index * idBytes;
      const id = idBytes === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
      if (id >= this.codebookSize) {
        throw new ProtocolError(`id ${id}, where all are below ${this.codebookSize}`);
      }
      ids[firstRow * cols + index] = id;
    }
    this.rowsHeld += count;
    this.checksum = crc32(bytes, this.checksum);
  }

  /**
   * The first rows as bytes of the wire: what a `prefix` is, to go on from. Throws
   * InvalidRequest for rows that are not held.
   */
  prefix(rows = this.rowsHeld): Uint8Array<ArrayBuffer> {
    const { idBytes, rowsHeld } = this;
    if (!(rows <= rowsHeld)) throw new InvalidRequest(`${rows} rows, where ${rowsHeld} are held`);
    const view = new DataView(new ArrayBuffer(rows * this.cols * idBytes));
    for (let at = 0; at < view.byteLength; at += idBytes) {
      const id = this.ids[at / idBytes];
      if (idBytes === 2) view.setUint16(at, id, true);
      else view.setUint32(at, id, true);
    }
    return new Uint8Array(view.buffer);
  }
}

/** What `accepted` tells of a picture and no server changes. */
type Told = Omit<Message<"accepted">, "type" | "stream" | "firstRow" | "model" | "position">;

/** A picture of a server, as far as it has come. */
export class Picture extends Grid implements Told {
  declare readonly image: number;
  declare readonly revision: Uint8Array;
  declare readonly seed: number;
  /** Tokens of the prompt that were not used. */
  declare readonly textCut: number;
  /** Characters of the prompt that the model cannot read. */
  declare readonly textLost: number;
  /** Its place in the queue; 0: it is being drawn, or has ended. */
  position = 0;
  /** From the server's acceptance to the last row; once it has ended. */
  milliseconds = 0;
  readonly sampling: Sampling;

  constructor(
    /** Its number in the request. */
    readonly index: number,
    { rows, cols, idBytes, image, revision, seed, textCut, textLost }: Told,
    readonly model: Model,
    /** Empty where it is only watched: nobody tells it. */
    readonly prompt: string,
    options: Options,
    /** By which anybody may watch it. */
    readonly viewKey: Uint8Array,
    /** False where it is only watched. */
    readonly isOwn: boolean,
  ) {
    super(rows, cols, idBytes, model.codebookSize);
    Object.assign(this, { image, revision, seed, textCut, textLost });
    this.sampling = samplingOf((name) =>
      isOwn ? (options[name] ?? model.sampling[name].default) : 0,
    );
  }
}
