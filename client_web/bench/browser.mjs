/**
 * What the preview costs in Chromium, on one thread: the package's decoder in its worker against
 * onnxruntime-web's WebAssembly, one after the other in pairs in the same page, and an update of
 * one row against a whole decode.
 *
 * npm run build
 * node bench/browser.mjs WEIGHTS.bin MODEL.onnx [--rounds 9] [--chromium /usr/bin/chromium]
 *
 * The last line is JSON. Times are medians, in milliseconds.
 */

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "9" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
  },
});
const [weightsPath, onnxPath] = positionals;
const TYPES = { ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };
const PAGE = `<!doctype html><script type="module">
  import { openPreviewDecoder } from "/dist/preview/decoder.js";
  import * as ort from "/ort/ort.wasm.min.mjs";
  globalThis.tools = { openPreviewDecoder, ort };
</script>`;

const server = createServer(({ url = "/" }, response) => {
  const [, folder, ...rest] = url.split("/");
  const paths = {
    weights: weightsPath,
    onnx: onnxPath,
    dist: join("dist", ...rest),
    ort: join("node_modules/onnxruntime-web/dist", ...rest),
  };
  const path = paths[folder];
  response.setHeader("Content-Type", path ? (TYPES[extname(path)] ?? "text/plain") : "text/html");
  response.end(path ? readFileSync(path) : PAGE);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const browser = await chromium.launch({
  executablePath: values.chromium,
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});
const page = await browser.newPage();
await page.goto(`http://127.0.0.1:${server.address().port}/`);
await page.waitForFunction("globalThis.tools");

const times = await page.evaluate(async (rounds) => {
  const { openPreviewDecoder, ort } = globalThis.tools;
  const fetched = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
  const weights = await fetched("/weights");
  const codebookSize = new DataView(weights.buffer).getUint32(8, true); // protocol.md, R-128
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = "/ort/";
  const session = await ort.InferenceSession.create(await fetched("/onnx"));
  const decoder = await openPreviewDecoder(weights, { backend: "wasm" });
  let state = 7; // neighbours have nothing in common, which is the worst case
  const ids = Uint32Array.from({ length: 256 }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * codebookSize);
  });
  const input = new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, 16, 16]);
  const time = async (work) => {
    const begin = performance.now();
    await work();
    return performance.now() - begin;
  };
  const [whole, theirs, update] = [[], [], []];
  for (let round = 0; round < rounds; round++) {
    whole.push(await time(() => decoder.paint(0, ids, 16, 16, { exact: true })));
    theirs.push(await time(() => session.run({ ids: input })));
    for (let rows = 1; rows <= 16; rows++) {
      update.push(await time(() => decoder.paint(round + 1, ids, rows, 16)));
    }
  }
  const median = (numbers) => numbers.sort((a, b) => a - b)[numbers.length >> 1];
  return {
    backend: decoder.backend,
    whole: median(whole),
    onnxruntime_web: median(theirs),
    update: median(update),
  };
}, Number(values.rounds));
await browser.close();
server.close();

const told = { ratio: times.whole / times.onnxruntime_web, update: times.update / times.whole };
console.log(`a whole picture is ${told.ratio.toFixed(2)} of onnxruntime-web's time`);
console.log(`an update of one row is ${told.update.toFixed(2)} of a whole picture`);
console.log(JSON.stringify(times));
