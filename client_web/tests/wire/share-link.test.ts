import { describe, expect, test } from "vitest";
import { InvalidRequest } from "../../src/wire/errors.js";
import { formatShareLink, parseShareLink } from "../../src/wire/share-link.js";
import { hex, vectors } from "../support/vectors.js";

interface Vector {
  name: string;
  link: string;
  valid: boolean;
  meaning: { server: string; view_key: string; first: number; last: number };
}

const { links } = vectors<{ links: Vector[] }>("links");

describe("each link of the vectors", () => {
  test.each(links)("$name", ({ link, valid, meaning }) => {
    if (!valid) {
      expect(() => parseShareLink(link)).toThrow(InvalidRequest);
      return;
    }
    const { url, viewKey, firstImage, images } = parseShareLink(link);
    expect([url, hex(viewKey), firstImage, firstImage + images - 1]).toEqual([
      meaning.server,
      meaning.view_key,
      meaning.first,
      meaning.last,
    ]);
    expect(parseShareLink(formatShareLink({ url, viewKey, firstImage, images }))).toEqual(
      parseShareLink(link),
    );
  });
});

test("a URL that no link can hold is refused", () => {
  const viewKey = new Uint8Array(16);
  for (const url of ["http://x.example", "ws://me:secret@x.example", "ws://x.example/?a"]) {
    expect(() => formatShareLink({ url, viewKey, firstImage: 0, images: 1 })).toThrow(
      InvalidRequest,
    );
  }
});
