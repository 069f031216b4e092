/** bench/results/transport.json as it stands, for answers by another path than the calculator's. */

import { readFileSync } from "node:fs";

const TEXT = readFileSync(
  new URL("../../../bench/results/transport.json", import.meta.url),
  "utf-8",
);

// biome-ignore lint/suspicious/noExplicitAny: it is JSON, whose keys results.py tells
type Json = any;

export const results: Json = JSON.parse(TEXT);
export const resultsText = TEXT;

export function combination(gallery: string, pace: string, link: string, way: string): Json {
  const found = results.combinations.filter(
    (each: Json) =>
      each.gallery === gallery && each.pace === pace && each.link === link && each.way === way,
  );
  if (found.length !== 1) throw new Error(`${found.length} combinations of ${way}`);
  return found[0];
}

/** By how many % a ratio differed at most when it was measured again. */
export function blurOf(figure: string): number {
  const told = results.repeatability[figure];
  return told.largest ?? told;
}
