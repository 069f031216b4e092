/** A generation as JSON, so that a page goes on after a reload. */

import { InvalidRequest } from "./errors.js";
import type { Asked, Generation } from "./generation.js";
import { type DoneReason, type Message, type Model, NO_OPTIONS, type Options } from "./messages.js";
import { fromHex, toHex } from "./share-link.js";

/** Bytes are in hexadecimal. */
export interface SavedGeneration {
  readonly prompt: string;
  readonly images: number;
  readonly options: Record<string, unknown>;
  readonly key: string | null;
  readonly viewKey: string;
  readonly pictures: ({
    readonly model: string;
    readonly revision: string;
    readonly seed: number;
    readonly rows: string;
    readonly reason: DoneReason | null;
    readonly milliseconds: number;
    readonly textCut: number;
    readonly textLost: number;
  } | null)[];
}

const BYTES = ["prefix", "revision"] as const; // of the options

export function saved({ asked, slots }: Generation): SavedGeneration {
  const options: Record<string, unknown> = { ...asked.options };
  for (const name of BYTES) {
    const value = asked.options[name];
    options[name] = value && toHex(value);
  }
  return {
    prompt: asked.prompt,
    images: asked.images,
    options,
    key: asked.key ? toHex(asked.key) : null,
    viewKey: toHex(asked.viewKey),
    pictures: slots.map(({ picture }) => {
      if (picture === undefined) return null;
      const { model, revision, seed, reason = null, milliseconds, textCut, textLost } = picture;
      return {
        ...{ model: model.name, revision: toHex(revision), seed, rows: toHex(picture.prefix()) },
        ...{ reason, milliseconds, textCut, textLost },
      };
    }),
  };
}

export function askedOf(saved: SavedGeneration): Asked {
  const options = { ...NO_OPTIONS, ...saved.options } as Options;
  for (const name of BYTES) {
    const value = saved.options[name];
    options[name] = typeof value === "string" ? fromHex(value) : null;
  }
  return {
    prompt: saved.prompt,
    images: saved.images,
    options,
    key: saved.key === null ? undefined : fromHex(saved.key),
    viewKey: fromHex(saved.viewKey),
  };
}

/**
 * Have a new generation hold the pictures that were saved, of a server with these models. Throws
 * InvalidRequest where that server has another model.
 */
export function takeSaved(generation: Generation, saved: SavedGeneration, models: Model[]): void {
  for (const [index, entry] of saved.pictures.entries()) {
    if (entry === null) continue;
    const slot = generation.slots[index];
    const model = models.find((each) => each.name === entry.model);
    if (model === undefined) {
      throw new InvalidRequest(`this server has no model ${entry.model}, which was drawing`);
    }
    const { rows, cols, idBytes } = model;
    const ids = fromHex(entry.rows);
    const prefix = generation.asked.options.prefix ?? new Uint8Array();
    const accepted: Message<"accepted"> = {
      type: "accepted",
      stream: slot.stream,
      image: slot.image,
      model: entry.model,
      revision: fromHex(entry.revision),
      firstRow: prefix.length / (cols * idBytes),
      position: 0,
      ...{
        rows,
        cols,
        idBytes,
        seed: entry.seed,
        textCut: entry.textCut,
        textLost: entry.textLost,
      },
    };
    slot.accept(accepted, model, entry.model);
    slot.isAnswered = false;
    const picture = slot.picture;
    if (picture === undefined) continue;
    if (ids.length > prefix.length) slot.addRows(picture.rowsHeld, ids.slice(prefix.length));
    if (entry.reason !== null) slot.finish(entry.reason, entry.milliseconds);
  }
}
