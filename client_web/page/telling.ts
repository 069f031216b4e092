/** What the page says in words: to all, and quietly to who listens to it. */

import { element, part } from "./elements.js";

/** Tell what is wrong, and what may be done; nothing takes it back. */
export function problem(text: string, ...actions: Node[]): void {
  const place = part("problem");
  const row = actions.length > 0 ? [element("span", {}, ...actions)] : [];
  place.replaceChildren(text, ...row);
  place.hidden = text === "";
}

/** Say something to screen readers, once what they say is said. */
export function say(text: string): void {
  part("said").textContent = text;
}

export function words(error: unknown): string {
  return error instanceof Error ? error.message : `${error}`;
}

const DIGITS = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export function size(bytes: number): string {
  if (bytes < 1_000) return `${bytes} bytes`;
  return bytes < 1e6 ? `${DIGITS.format(bytes / 1e3)} kB` : `${DIGITS.format(bytes / 1e6)} MB`;
}
