/** Share links: pictures to watch, in one line (protocol.md, section 12). */

import { InvalidRequest } from "./errors.js";
import { MAX_STREAM } from "./messages.js";

const LINK =
  /^rowcast:(wss?:\/\/[A-Za-z0-9.:[\]-]+(?:\/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?)#([0-9a-f]{32})\/([0-9]{1,5})(?:-([0-9]{1,5}))?$/;

export interface ShareLink {
  /** URL of the server's WebSocket. */
  readonly url: string;
  readonly viewKey: Uint8Array;
  readonly firstImage: number;
  readonly images: number;
}

/** Read a link. Throws InvalidRequest for what is none (R-116). */
export function parseShareLink(link: string): ShareLink {
  const [, url, key, first, last = first] = LINK.exec(link) ?? [];
  const [firstImage, lastImage] = [Number(first), Number(last)];
  if (url === undefined || lastImage < firstImage || lastImage > MAX_STREAM) {
    throw new InvalidRequest("a share link is like rowcast:wss://host/#KEY/0");
  }
  return { url, viewKey: fromHex(key), firstImage, images: lastImage - firstImage + 1 };
}

/** Write a link. Throws InvalidRequest for a URL that no link can hold. */
export function formatShareLink({ url, viewKey, firstImage, images }: ShareLink): string {
  const last = images === 1 ? "" : `-${firstImage + images - 1}`;
  const link = `rowcast:${url}#${toHex(viewKey)}/${firstImage}${last}`;
  parseShareLink(link);
  return link;
}

export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function fromHex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
