/** What the page says in words: to all, and quietly to who listens to it. */

import { button, element, part } from "./elements.js";

/** Tell what is wrong, and what may be done about it; an empty text takes it back. */
export function problem(text: string, ...actions: Node[]): void {
  const place = part("problem");
  const close = button("Close", () => problem(""), { class: "" });
  const choices = actions.length > 0 ? actions : [close];
  place.replaceChildren(element("p", {}, text), element("span", {}, ...choices));
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
