/** A generation as JSON, so that a page goes on after a reload. */

import { InvalidRequest, ProtocolError } from "./errors.js";
import type { Asked, Generation } from "./generation.js";
import { decodeClient, decodeServer, encode, NO_OPTIONS, reasonNumber } from "./messages.js";
import { fromHex, toHex } from "./share-link.js";
import type { OfStream, Slot } from "./slot.js";
import { viewKeyOf } from "./view-key.js";

/** Frames of the protocol, in hexadecimal: they tell all that there is to know. */
export interface SavedGeneration {
  /** What asks for the pictures: one `start`, or a `watch` for each. */
  readonly asked: readonly string[];
  /** `accepted`, `rows` and `done` of each picture, its stream being its index. */
  readonly came: readonly string[];
}

export function saved(generation: Generation): SavedGeneration {
  const { slots, asked } = generation;
  const messages = generation.startMessages().map((message) => {
    return message.type === "start" ? { ...message, options: generation.stated() } : message;
  });
  const cames = slots.flatMap((slot) => cameOf(slot, asked.options.prefix?.length ?? 0));
  const toFrames = (list: Parameters<typeof encode>[0][]) => list.map(encode).map(toHex);
  return { asked: toFrames(messages), came: toFrames(cames) };
}

/** What a server would have sent to have the picture as it is. */
function cameOf({ picture, index: stream, image }: Slot, prefixBytes: number): OfStream[] {
  if (picture === undefined) return [];
  const { model, revision, seed, rows, cols, idBytes, position, textCut, textLost } = picture;
  const { rowsHeld, checksum: crc32, milliseconds, reason } = picture;
  const rowBytes = cols * idBytes;
  const firstRow = prefixBytes / rowBytes;
  const came: OfStream[] = [
    {
      ...{ type: "accepted", stream, image, model: model.name, revision, seed, rows, cols },
      ...{ idBytes, firstRow, position, textCut, textLost },
    },
  ];
  for (let row = firstRow; row < rowsHeld; row++) {
    const ids = picture.prefix(row + 1).slice(row * rowBytes);
    came.push({ type: "rows", stream, firstRow: row, ids });
  }
  if (reason !== undefined) {
    const number = reasonNumber(reason);
    came.push({ type: "done", stream, rows: rowsHeld, crc32, milliseconds, reason: number });
  }
  return came;
}

/** The request that was saved, and what came of it. Throws InvalidRequest for what is neither. */
export function readSaved({ asked, came }: SavedGeneration): [Asked, OfStream[]] {
  try {
    const messages = asked.map((frame) => decodeClient(fromHex(frame), Number.POSITIVE_INFINITY));
    const [first] = messages;
    const cames = came.map((frame) => decodeServer(fromHex(frame)) as OfStream);
    if (first?.type === "start") {
      return [{ ...first, viewKey: viewKeyOf(first.key) }, cames];
    }
    if (first?.type === "watch") {
      const { viewKey, image: firstImage } = first;
      const options = { ...NO_OPTIONS, firstImage };
      return [{ prompt: "", images: asked.length, options, key: undefined, viewKey }, cames];
    }
  } catch (error) {
    if (!(error instanceof ProtocolError || error instanceof TypeError)) throw error;
  }
  throw new InvalidRequest("this is not what Generation.save gave");
}
