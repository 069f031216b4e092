import { NO_OPTIONS, type Options } from "./messages.js";

/** What `generate` takes; what is left out is the server's choice. */
export interface GenerateRequest {
  readonly prompt: string;
  /** From 1 to the server's limit. */
  readonly images?: number;
  /** 0 … 2³²−1. */
  readonly seed?: number;
  readonly firstImage?: number;
  readonly model?: string;
  /** Draw only if the model has this revision. */
  readonly revision?: Uint8Array;
  readonly temperature?: number;
  /** 0 keeps all. */
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly guidance?: number;
  /** Draw only so many rows. */
  readonly stopRow?: number;
  /** Ids of whole rows to go on from, as of `Picture.prefix`. */
  readonly prefix?: Uint8Array;
}

/** Its options; each of its server's choice where nothing is said. */
export function optionsOf(request: GenerateRequest): Options {
  const stated = Object.entries(NO_OPTIONS).map(([name, otherwise]) => [
    name,
    request[name as keyof GenerateRequest] ?? otherwise,
  ]);
  return Object.fromEntries(stated) as Options;
}
