/** The preview decoder in Chromium: on both engines, against the ONNX file of the same weights. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type * as Decoder from "../../src/preview/decoder.js";
import { launch, site } from "../support/browsing.js";

const PYTHON = join(dirname(process.env.ROWCAST ?? "../.venv/bin/rowcast"), "python");
const RUNTIME = "node_modules/onnxruntime-web/dist";
const RUNTIME_FILES = [
  "ort.wasm.min.mjs",
  "ort-wasm-simd-threaded.mjs",
  "ort-wasm-simd-threaded.wasm",
];
/** WebGPU in software: right, and slow. */
const SOFTWARE_GPU = [
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--enable-features=Vulkan",
];

type Files = Parameters<typeof site>[0];
type Site = Awaited<ReturnType<typeof site>>;

/** What the page's script leaves for the tests. */
interface Tools {
  open: typeof Decoder.openPreviewDecoder;
  weights: Uint8Array;
  /** Ids by chance of 16 x 16 tokens. */
  ids: Uint32Array;
  /** What onnxruntime-web makes of the ONNX file and the first rows of ids: [3, height, width]. */
  run(rows: number): Promise<Float32Array>;
  /** The same as bytes [height, width, 4]. */
  onnx(rows: number): Promise<Uint8ClampedArray>;
  /** The share of bytes that are no farther apart than one. */
  near(one: Uint8ClampedArray, other: Uint8ClampedArray): number;
}

const script = (origin: string) => `
import { openPreviewDecoder as open } from "${origin}/dist/preview/decoder.js";
import * as ort from "${origin}/ort/ort.wasm.min.mjs";
const bytes = async (path) => new Uint8Array(await (await fetch("${origin}" + path)).arrayBuffer());
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = "${origin}/ort/";
const session = await ort.InferenceSession.create(await bytes("/postcard.onnx"));
let state = 7;
const ids = Uint32Array.from({ length: 256 }, () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * 2401);
});
async function run(rows) {
  const input = BigInt64Array.from(ids.subarray(0, 16 * rows), BigInt);
  const tensor = new ort.Tensor("int64", input, [1, rows, 16]);
  return (await session.run({ ids: tensor })).pixels.data;
}
async function onnx(rows) {
  const data = await run(rows);
  const area = data.length / 3;
  return Uint8ClampedArray.from({ length: 4 * area }, (_, at) =>
    at % 4 < 3 ? Math.floor(Math.fround(255 * data[(at % 4) * area + (at >> 2)])) : 255);
}
const near = (one, other) =>
  one.filter((byte, at) => Math.abs(byte - other[at]) <= 1).length / other.length;
globalThis.tools = { open, ids, run, onnx, near, weights: await bytes("/postcard.bin") };
`;

const html = (origin = ""): [string, string] => [
  "text/html",
  `<!doctype html><script type="module">${script(origin)}</script>`,
];

let files: Files;
let here: Site;
let plain: Browser;
let withGpu: Browser;

beforeAll(async () => {
  const folder = mkdtempSync(join(tmpdir(), "preview-"));
  execFileSync(PYTHON, ["bench/preview_files.py", folder]);
  files = { "/": html() };
  for (const name of ["postcard.bin", "postcard.onnx"]) {
    files[`/${name}`] = ["application/octet-stream", readFileSync(join(folder, name))];
  }
  for (const name of RUNTIME_FILES) {
    const type = name.endsWith("wasm") ? "application/wasm" : "text/javascript";
    files[`/ort/${name}`] = [type, readFileSync(join(RUNTIME, name))];
  }
  for (const name of readdirSync("dist", { recursive: true, encoding: "utf-8" })) {
    if (!name.endsWith(".js")) continue;
    files[`/dist/${name}`] = ["text/javascript", readFileSync(join("dist", name))];
  }
  here = await site(files);
  [plain, withGpu] = await Promise.all([launch(), launch(...SOFTWARE_GPU)]);
});

afterAll(async () => {
  here?.close();
  await plain?.close();
  await withGpu?.close();
});

/** A page that has its tools. */
async function open(browser: Browser, { origin }: Site = here): Promise<Page> {
  const page = await browser.newPage();
  await page.goto(origin);
  await page.waitForFunction("globalThis.tools");
  return page;
}

/** Open the file and paint the ids at once, then row by row. */
function paint(page: Page, backend: Decoder.PreviewOptions["backend"] = "auto") {
  return page.evaluate(async (backend) => {
    const { open, weights, ids, onnx, near } = (globalThis as unknown as { tools: Tools }).tools;
    const decoder = await open(weights, { backend });
    const whole = await decoder.paint(0, ids, 16, 16, { exact: true });
    const seen = new Uint8ClampedArray(whole.rgba.length);
    const updated: number[] = [];
    for (const rows of backend === "webgpu" ? [9] : [1, 2, 3, 9, 10, 15, 16]) {
      const { rgba, firstRow, width } = await decoder.paint(1, ids, rows, 16);
      seen.set(rgba, 4 * firstRow * width);
      updated.push(near(seen.subarray(0, 4 * 8 * rows * width), await onnx(rows)));
    }
    const { backend: ran } = decoder;
    decoder.close();
    return {
      ran,
      size: [whole.width, whole.height],
      whole: near(whole.rgba, await onnx(16)),
      updated,
    };
  }, backend);
}

describe("the ONNX file's pixels", () => {
  test("in WebAssembly, where there is no WebGPU", async () => {
    const page = await open(plain);
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(false);
    const { ran, size, whole, updated } = await paint(page);
    expect(ran).toBe("wasm relaxed simd");
    expect(size).toEqual([128, 128]);
    expect(whole).toBeGreaterThanOrEqual(0.999);
    expect(Math.min(...updated)).toBeGreaterThanOrEqual(0.999);
    await page.close();
  });

  test("on WebGPU", async () => {
    const page = await open(withGpu);
    const { ran, whole, updated } = await paint(page, "webgpu");
    expect(ran).toBe("webgpu");
    expect(Math.min(whole, ...updated)).toBeGreaterThanOrEqual(0.999);
    await page.close();
  });
});

test("WebGPU in software is left for WebAssembly, and is refused where it is not there", async () => {
  const page = await open(withGpu);
  expect((await paint(page)).ran).toBe("wasm relaxed simd");
  await page.close();
  const other = await open(plain);
  await expect(paint(other, "webgpu")).rejects.toThrow("gives no WebGPU");
  await other.close();
});

test("a GPU that computes something else fails the self-test, and WebAssembly paints", async () => {
  const changed = { ...files };
  const change = (name: string, from: string, to: string) => {
    const text = Buffer.from(files[name][1]).toString();
    expect(text).toContain(from);
    changed[name] = ["text/javascript", text.replace(from, to)];
  };
  change("/dist/preview/worker.js", "isFallbackAdapter", "isAsIfOfHardware");
  const hardware = await site(changed);
  const page = await open(withGpu, hardware);
  const opened = () =>
    page.evaluate(async () => {
      const { open, weights } = (globalThis as unknown as { tools: Tools }).tools;
      const decoder = await open(weights);
      decoder.close();
      return decoder.backend;
    });
  expect(await opened()).toBe("webgpu");
  await page.close();
  hardware.close();

  change("/dist/preview/shader.js", "sums[pixel] += matrix", "sums[pixel] -= matrix");
  const wrong = await site(changed);
  const other = await open(withGpu, wrong);
  expect((await paint(other)).ran).toBe("wasm relaxed simd");
  await expect(paint(other, "webgpu")).rejects.toThrow(/self-test is painted \d+\/255 wrong/);
  await other.close();
  wrong.close();
});

test("on a page of another origin than the package", async () => {
  const elsewhere = await site({ "/": html(here.origin) });
  const page = await open(plain, elsewhere);
  const { ran, whole } = await paint(page);
  expect(ran).toBe("wasm relaxed simd");
  expect(whole).toBeGreaterThanOrEqual(0.999);
  await page.close();
  elsewhere.close();
});

test("what is wrong is told in words", async () => {
  const page = await open(plain);
  const told = await page.evaluate(async () => {
    const { open, weights, ids } = (globalThis as unknown as { tools: Tools }).tools;
    const why = (promise: Promise<unknown>) => promise.then(String, (error) => error.message);
    const told: Record<string, string> = {};
    told.cut = await why(open(weights.subarray(0, 1000)));
    const model = { codebookSize: 2401, pixelsPerToken: 16 };
    told.pixels = await why(open(weights, { model }));
    told.codes = await why(open(weights, { model: { codebookSize: 2402, pixelsPerToken: 8 } }));
    const wrong = weights.slice();
    wrong[13 * 4 + 4 * 5 + 64] ^= 0x7f; // of the thumbnail
    told.selfTest = await why(open(wrong));
    told.aborted = await why(open(weights, { signal: AbortSignal.abort(new Error("no more")) }));
    const soon = new AbortController();
    const opening = why(open(weights, { signal: soon.signal }));
    soon.abort(new Error("left"));
    told.left = await opening;
    const decoder = await open(weights, { model: { codebookSize: 2400, pixelsPerToken: 8 } });
    told.beyond = await why(
      decoder.paint(
        0,
        ids.map(() => 2401),
        1,
        16,
      ),
    );
    told.rows = await why(decoder.paint(0, ids, 17, 16));
    const painting = why(decoder.paint(0, ids, 16, 16));
    decoder.close();
    told.closed = await painting;
    told.after = await why(decoder.paint(0, ids, 16, 16));
    return told;
  });
  expect(told).toEqual({
    pixels: "the file of preview weights is of another model",
    codes: "the file of preview weights is of another model",
    cut: expect.stringContaining("is cut off"),
    selfTest: expect.stringContaining("self-test"),
    aborted: "no more",
    left: "left",
    beyond: "the preview has 2401 codes, not 2401",
    rows: "17 rows of 16 cannot be painted of 256 ids",
    closed: "the preview's decoder was closed",
    after: "the preview's decoder was closed",
  });
  await page.close();
});
