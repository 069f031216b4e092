/** What stands where pictures will: as many empty frames as are wanted, ruled in their rows. */

import type { Model } from "../src/wire/index.js";
import { element, part } from "./elements.js";

/** Lay out empty frames for so many pictures of a model. */
export function layBlank({ name, rows, cols, idBytes, description }: Model, images: number): void {
  const count = Number.isInteger(images) ? Math.min(16, Math.max(1, images)) : 1;
  const frames = Array.from({ length: count }, () =>
    element("li", {}, element("div", { class: "frame" })),
  );
  const list = element("ol", { class: "pictures", "aria-hidden": "true" }, ...frames);
  list.dataset.count = `${count}`;
  list.style.setProperty("--rows", `${rows}`);
  list.style.setProperty("--shape", `${cols} / ${rows}`);
  const words =
    `${name} draws a picture in ${rows} rows of ${cols} tokens. A row is ${cols * idBytes} bytes, ` +
    "and is painted here as soon as it comes.";
  part("blank").replaceChildren(list, element("p", { class: "quiet" }, words, " ", description));
}
