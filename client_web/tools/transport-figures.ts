/** Cut the part of bench/results/transport.json that the calculator needs; the build bundles it. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Named, PackedFigures } from "../page/cost/figures.js";

export const RESULTS = new URL("../../bench/results/transport.json", import.meta.url);
const SCHEMAS = [1, 2]; // of rowcast_bench/transport/results.py, which tells the keys
const NO_LINK = "loopback"; // bytes and work do not depend on a link: they are taken from here
const WORK = [
  ...["payload_bytes", "server_cpu_ms", "server_decode_cpu_ms", "server_decodes"],
  ...["client_cpu_ms", "generation_ms"],
];

// biome-ignore lint/suspicious/noExplicitAny: it is JSON, whose keys results.py tells
type Results = any;

export function cut(text: string): PackedFigures {
  const results: Results = JSON.parse(text);
  if (!SCHEMAS.includes(results.schema))
    throw new Error(`transport.json has schema ${results.schema}`);
  if (results.page_bytes === null) throw new Error("transport.json has no page_bytes");
  const work: PackedFigures["work"] = {};
  const times: PackedFigures["times"] = {};
  for (const found of results.combinations) {
    const { gallery, pace, link, way, row_to_glass_ms: glass } = found;
    if (link === NO_LINK) place(work, gallery, pace)[way] = WORK.map((key) => found[key]);
    place(times, gallery, pace, link)[way] = [
      ...[found.first_row_ms, glass.p50, glass.p99, found.final_added_ms],
      Number(found.kind === "computed"),
    ];
  }
  const downloads: PackedFigures["downloads"] = {};
  for (const { gallery, link, ...seconds } of results.derived.first_visit) {
    place(downloads, gallery)[link] = seconds;
  }
  return {
    sha256: createHash("sha256").update(text).digest("hex"),
    machine: results.machine,
    cores: results.cores,
    gpu: {
      pricePerHour: results.derived.cost.price_an_hour,
      teraflops: results.derived.cost.tflops,
    },
    code: { page: results.page_bytes.page, runtime: results.page_bytes.onnxruntime },
    links: named(results.links, ({ label, round_trip, loss }) => ({
      ...{ label, loss, roundTrip: round_trip },
    })),
    ways: named(results.ways, ({ label, protocol, tier, frames }) => ({
      ...{ label, tier: protocol === "tokens" ? tier : "", isForming: frames !== 1 },
    })),
    galleries: named(results.galleries, (gallery) => ({
      label: gallery.label,
      decodesInRun: gallery.decodes_in_run,
      gflop: gallery.gflop_a_decode,
      decodeMilliseconds: gallery.decode_costs.at(-1).ms,
      files: gallery.file_bytes,
      paces: named(gallery.paces, (rows) => Number((rows.at(-1) / rows.length).toFixed(4))),
    })),
    work,
    times,
    downloads,
    finalDecibels: named(results.quality.postcard, (shown) => shown.at(-1).psnr_db),
    repeatability: {
      serverCpu: largest(results.repeatability.server_cpu_ms),
      viewerCpu: largest(results.repeatability.client_cpu_ms),
      finalAdded: largest(results.repeatability.final_added_ms),
    },
  };
}

/** The cut of the committed results. */
export function committedFigures(): PackedFigures {
  return cut(readFileSync(RESULTS, "utf-8"));
}

/** Of the differences when all was measured again; schema 1 has no other. */
function largest(difference: number | { largest: number }): number {
  return typeof difference === "number" ? difference : difference.largest;
}

function named<T>(all: Named<Results>, change: (value: Results) => T): Named<T> {
  return Object.fromEntries(Object.entries(all).map(([name, value]) => [name, change(value)]));
}

/** The object at the end of these names, made where there is none. */
function place(root: Results, ...names: string[]): Results {
  let found = root;
  for (const name of names) {
    found[name] ??= {};
    found = found[name];
  }
  return found;
}
