/** Answers beside the same ones from transport.json by another path: its own derived figures. */

import { expect, test } from "vitest";
import { Answers } from "../../page/cost/arithmetic.js";
import { unpack } from "../../page/cost/figures.js";
import { type Setup, settled, usual } from "../../page/cost/setup.js";
import { committedFigures } from "../../tools/transport-figures.js";
import { combination, results } from "./results.js";

const figures = unpack(committedFigures());
const mini = { gallery: "mini", pace: "20ms", link: "3g" } as const;

function answers(changes: Partial<Setup> = {}): Answers {
  return new Answers(figures, settled(figures, { ...usual(figures), ...mini, ...changes }));
}

test("downloads pay after as many pictures as the benchmark's own table says", () => {
  const paid = (gallery: string, files: string) =>
    results.derived.break_even.find(
      (line: { gallery: string; files: string }) =>
        line.gallery === gallery && line.files === files,
    );
  const app = { viewer: "app", preview: "preview int8", full: "full int8" } as const;
  const cases: [Partial<Setup>, string, string][] = [
    [app, "tokens_palette", "palette"],
    [app, "tokens_preview", "palette + preview int8"],
    [{ ...app, preview: "preview fp16" }, "tokens_preview", "palette + preview fp16"],
    [{ viewer: "app", gallery: "postcard" }, "tokens_preview", "palette + preview fp16"],
  ];
  for (const [setup, way, files] of cases) {
    const line = paid(setup.gallery ?? "mini", files);
    const asked = answers(setup);
    expect(asked.download(way).bytes).toBe(line.download_bytes);
    expect([asked.paidAfter(way, "jpeg_end"), asked.paidAfter(way, "jpeg_8")]).toEqual([
      line.jpeg_end,
      line.jpeg_8,
    ]);
  }
});

test("a browser downloads code beside the files, and a runtime for the full decoder alone", () => {
  const { page, onnxruntime } = results.page_bytes;
  const files = results.galleries.mini.file_bytes;
  const small = page + files["palette uint8"] + files["preview_weights int8"];
  const browser = answers({ viewer: "browser", full: "full fp16" });
  expect(browser.download("tokens_preview").bytes).toBe(small);
  expect(browser.download("tokens_full").bytes).toBe(small + files["full fp16"] + onnxruntime);
  expect(browser.download("jpeg_8").bytes).toBe(0);
});

test("a download never pays against a way that sends no more", () => {
  const asked = answers();
  expect(asked.paidAfter("tokens_preview", "tokens_full")).toBeNull();
});

test("files take as long over a link as the benchmark's first visit says", () => {
  const line = results.derived.first_visit.find(
    (each: { gallery: string; link: string }) => each.gallery === "mini" && each.link === "3g",
  );
  const asked = answers({ viewer: "app", preview: "preview fp16", full: "full fp32" });
  const files = ["palette uint8", "preview fp16", "full fp32"];
  const due = files.reduce((total, name) => total + line[name], 0);
  expect(asked.download("tokens_full").seconds).toBeCloseTo(due, 1);
  expect(answers({ link: "loopback" }).download("tokens_full").seconds).toBe(0);
});

test("bytes are those without a link, by pictures, with the download once", () => {
  const asked = answers({ pictures: 250 });
  for (const way of Object.keys(results.ways)) {
    const due = combination("mini", "20ms", "loopback", way).payload_bytes;
    const { picture, again, first } = asked.bytes(way);
    expect([picture, again]).toEqual([due, 250 * due]);
    expect(first - again).toBe(asked.download(way).bytes);
  }
});

test("times are those of the link, and what was computed is known as such", () => {
  for (const line of results.combinations) {
    const { gallery, pace, link, way, row_to_glass_ms: glass } = line;
    expect(answers({ gallery, pace, link }).times(way)).toEqual({
      ...{ firstRow: line.first_row_ms, median: glass.p50, slowest: glass.p99 },
      ...{ finalAdded: line.final_added_ms, isComputed: line.kind === "computed" },
    });
  }
  const computed = results.combinations.filter(({ kind }: { kind: string }) => kind === "computed");
  expect(computed.length).toBeGreaterThan(0);
});

test("GPU seconds and their price are the benchmark's where nothing else costs", () => {
  const asked = answers({ core: 0, traffic: 0 });
  for (const [way, line] of Object.entries<Record<string, number>>(results.derived.cost.ways)) {
    expect(asked.server(way).gpu).toBeCloseTo(line.gpu_seconds, 5);
    expect(asked.cost(way).again).toBeCloseTo(line.price_of_1000, 4);
    expect(asked.cost(way).first).toBe(asked.cost(way).again);
  }
});

test("traffic and cores are paid for what they carry and do", () => {
  const line = combination("mini", "20ms", "loopback", "webp_8");
  const traffic = answers({ gpu: 0, core: 0, traffic: 5 }).cost("webp_8");
  expect(traffic.again).toBeCloseTo((line.payload_bytes * 1000 * 5) / 1e9, 10);
  const onCpu = answers({ decoder: "cpu", gpu: 99, core: 3.6, traffic: 0 }).cost("webp_8");
  expect(onCpu.again).toBeCloseTo(line.server_cpu_ms / 1000, 8);
  const onGpu = answers({ gpu: 0, core: 3.6, traffic: 0 }).cost("webp_8");
  expect(onGpu.again).toBeCloseTo((line.server_cpu_ms - line.server_decode_cpu_ms) / 1000, 8);
});

test("a first visit's download is shared by its pictures", () => {
  const asked = answers({ pictures: 10, gpu: 0, core: 0, traffic: 1 });
  const { first, again } = asked.cost("tokens_preview");
  const due = (100 * asked.download("tokens_preview").bytes) / 1e9;
  expect(first - again).toBeCloseTo(due, 10);
});

test("a server that its cores bound sends as many pictures a minute as the benchmark derives", () => {
  const line = results.derived.sustained.find(
    (each: { gallery: string; pace: string; way: string }) =>
      each.gallery === "mini" && each.pace === "20ms" && each.way === "jpeg_8",
  );
  const { generation } = answers().work("jpeg_8");
  const { viewers } = answers({ decoder: "cpu" }).sustained("jpeg_8");
  expect((viewers * 60_000) / generation).toBeCloseTo(line.pictures["128"], 0);
  const twice = answers({ decoder: "cpu", cores: 2 * results.cores }).sustained("jpeg_8");
  expect(twice.viewers).toBeCloseTo(2 * viewers, 8);
});

test("a slow GPU bounds the viewers of pictures, not those of tokens", () => {
  const [fast, slow] = [answers(), answers({ teraflops: 1 })];
  const bound = 1 / slow.server("jpeg_8").gpu;
  const seconds = combination("mini", "20ms", "loopback", "jpeg_8").generation_ms / 1000;
  expect(slow.sustained("jpeg_8").viewers).toBeCloseTo(bound * seconds, 8);
  expect(slow.sustained("tokens_preview")).toEqual(fast.sustained("tokens_preview"));
  const { viewers, servers } = slow.sustained("jpeg_8");
  expect(servers).toBe(Math.ceil(slow.setup.viewers / viewers));
});

test("the decode that times leave out is the GPU's, the CPU's, or none", () => {
  const { gflop_a_decode, decode_costs } = results.galleries.mini;
  expect(answers({ teraflops: 10 }).decodeLeftOut).toBeCloseTo(gflop_a_decode / 10, 8);
  expect(answers({ decoder: "cpu" }).decodeLeftOut).toBe(decode_costs[15].ms);
  expect(answers({ gallery: "postcard" }).decodeLeftOut).toBe(0);
});
