/** What a tab keeps to go on after a reload. It holds the keys of what is drawn: sessionStorage. */

import type { SavedGeneration } from "../src/wire/index.js";
import type { Counted } from "./figures.js";

export interface KeptPart {
  /** The pictures of the sheet that it draws, by their place there. */
  readonly cards: number[];
  readonly saved: SavedGeneration;
}

export interface KeptSheet {
  readonly title: string;
  readonly prompt: string;
  readonly parts: KeptPart[];
  readonly counted: Counted;
}

const MOST = 12;

/** The sheets of a server that were kept, the newest first. */
export function readKept(server: URL): KeptSheet[] {
  try {
    return JSON.parse(sessionStorage.getItem(keyOf(server)) ?? "[]");
  } catch {
    return [];
  }
}

/** Keep the first sheets; the others are gone with a reload, as all are where there is no room. */
export function keep(server: URL, sheets: KeptSheet[]): void {
  try {
    sessionStorage.setItem(keyOf(server), JSON.stringify(sheets.slice(0, MOST)));
  } catch {
    sessionStorage.removeItem(keyOf(server));
  }
}

function keyOf(server: URL): string {
  return `rowcast sheets ${server}`;
}
