/** What is cut out of transport.json: all that is asked for, small, and of known schemas alone. */

import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { unpack } from "../../page/cost/figures.js";
import { committedFigures, cut } from "../../tools/transport-figures.js";
import { blurOf, combination, results, resultsText } from "./results.js";

const MOST_BYTES = 7_000; // as they travel

test("every combination is there, with its work and its times", () => {
  const figures = unpack(committedFigures());
  for (const { gallery, pace, link, way, ...told } of results.combinations) {
    const times = figures.times[gallery][pace][link][way];
    expect([times.firstRow, times.finalAdded]).toEqual([told.first_row_ms, told.final_added_ms]);
    const line = combination(gallery, pace, "loopback", way);
    expect(figures.work[gallery][pace][way]).toEqual({
      ...{ bytes: line.payload_bytes, serverCpu: line.server_cpu_ms },
      ...{ decodeCpu: line.server_decode_cpu_ms, decodes: line.server_decodes },
      ...{ viewerCpu: line.client_cpu_ms, generation: line.generation_ms },
    });
  }
  expect(figures.finalDecibels.tokens_full).toBe(
    Math.max(
      ...results.quality.postcard.tokens_full.map((each: { rows: number; psnr_db: number }) =>
        each.rows === 16 ? each.psnr_db : 0,
      ),
    ),
  );
});

test("they are small", () => {
  const packed = gzipSync(JSON.stringify(committedFigures()), { level: 9 });
  expect(packed.length).toBeLessThanOrEqual(MOST_BYTES);
});

test("another figure in the results makes other figures, of another hash", () => {
  const [before, changed] = [committedFigures(), structuredClone(results)];
  changed.combinations[0].payload_bytes += 1;
  const after = cut(JSON.stringify(changed));
  expect(after.sha256).not.toBe(before.sha256);
  const { gallery, pace, way } = changed.combinations[0];
  expect(after.work[gallery][pace][way][0]).toBe(before.work[gallery][pace][way][0] + 1);
});

test("an unknown schema and results without a page are refused", () => {
  expect(() => cut(JSON.stringify({ ...results, schema: 99 }))).toThrow("schema 99");
  expect(() => cut(JSON.stringify({ ...results, page_bytes: null }))).toThrow("page_bytes");
});

test("schema 2: differences have a median and a largest, and a gateway's tier is not a viewer's", () => {
  const two = structuredClone(results);
  two.schema = 2;
  two.ways.sse_3.tier = "full";
  const largest = { server_cpu_ms: 3, client_cpu_ms: 5, final_added_ms: 7 };
  for (const [name, value] of Object.entries(largest)) {
    two.repeatability[name] = { median: 1, largest: value };
  }
  const figures = cut(JSON.stringify(two));
  expect(figures.repeatability).toEqual({ serverCpu: 3, viewerCpu: 5, finalAdded: 7 });
  expect(figures.ways.sse_3.tier).toBe("");
  expect(committedFigures().repeatability.finalAdded).toBe(blurOf("final_added_ms"));
  expect(cut(resultsText).ways.tokens_full.tier).toBe("full");
});
