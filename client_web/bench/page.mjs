/**
 * What painting costs a page: rows of a scripted server, whose rows come at a stated pace, painted
 * in headless Chromium by the package as it is built.
 *
 * npm run build
 * node bench/page.mjs [--pictures 200] [--seconds-a-row 0.1]
 *
 * Prints, of 4 pictures at once: from a row's bytes to palette pixels on the canvas (p50, p95), tasks
 * of the main thread over 50 ms (Long Tasks API), and from the last row to finished pictures; of 200
 * pictures one after the other, how much the heap has grown since the 20th. A line of JSON at the end.
 */

import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const { values: options } = parseArgs({
  options: {
    pictures: { type: "string", default: "200" },
    "seconds-a-row": { type: "string", default: "0.1" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
    python: { type: "string", default: "../.venv/bin/python" },
  },
});
const HTML = `<!doctype html><title>rowcast</title><script type="module">
  import * as rowcast from "/dist/index.js";
  globalThis.rowcast = rowcast;
</script>`;

const site = createServer((request, response) => {
  const path = (request.url ?? "/").slice(1);
  const isScript = readdirSync("dist", { recursive: true }).some(
    (name) => join("dist", name) === path,
  );
  response.writeHead(200, { "Content-Type": isScript ? "text/javascript" : "text/html" });
  response.end(isScript ? readFileSync(path) : HTML);
});
await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
const origin = `http://127.0.0.1:${site.address().port}`;

/** A server that draws at a pace; returns its URL and what ends it. */
async function serve(pace) {
  const words = ["-m", "tests.soak.scripted_server", "--port=0", "--slots=4"];
  const child = spawn(
    `client_web/${options.python}`,
    [...words, `--seconds-a-row=${pace}`, `--allow-origin=${origin}`],
    {
      cwd: "..",
      stdio: ["pipe", "pipe", "inherit"],
    },
  );
  const line = await new Promise((resolve) =>
    child.stdout.once("data", (data) => resolve(`${data}`)),
  );
  return [line.split(" ")[1], () => child.kill("SIGKILL")];
}

const browser = await chromium.launch({
  executablePath: options.chromium,
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});

async function open() {
  const page = await (await browser.newContext()).newPage();
  await page.goto(origin);
  await page.waitForFunction("globalThis.rowcast");
  return page;
}

/** Of 4 pictures: [milliseconds to palette pixels], longest tasks, milliseconds to the end. */
async function forming(url) {
  const page = await open();
  const figures = await page.evaluate(async (url) => {
    const { Client, Painter } = globalThis.rowcast;
    let came = 0; // when the last message did
    class Timed extends WebSocket {
      constructor(...words) {
        super(...words);
        this.addEventListener("message", () => {
          came = performance.now();
        });
      }
    }
    const client = await Client.connect(url, { WebSocket: Timed });
    const painter = new Painter(client);
    painter.load(client.models[0]);
    while (!painter.tiers.some((tier) => tier.kind === "preview" && tier.state === "ready")) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const long = [];
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) long.push(Math.round(entry.duration));
    }).observe({ entryTypes: ["longtask"] });
    const shown = [];
    const delays = [];
    let last = 0;
    for await (const event of client.generate({ prompt: "a red house", images: 4 })) {
      if (event.type === "accepted") {
        const canvas = document.createElement("canvas");
        document.body.append(canvas);
        shown[event.index] = painter.show(event.picture, canvas);
      }
      shown[event.index].update();
      if (event.type === "rows") {
        last = came;
        delays.push(performance.now() - came);
      }
    }
    await Promise.all(shown.map((each) => each.settled));
    const end = performance.now() - last;
    await new Promise((resolve) => setTimeout(resolve, 200)); // for the observer
    return {
      delays,
      long,
      end,
      backend: painter.tiers.find((tier) => tier.kind === "preview").backend,
    };
  }, url);
  await page.context().close();
  return figures;
}

/** Bytes of the heap, backing stores included, after collection, with every 20 pictures. */
async function heap(url, pictures) {
  const page = await open();
  const session = await page.context().newCDPSession(page);
  await page.evaluate(async (url) => {
    const { Client, Painter } = globalThis.rowcast;
    const client = await Client.connect(url);
    const painter = new Painter(client);
    globalThis.draw = async (images) => {
      const shown = [];
      for await (const event of client.generate({ prompt: "a red house", images })) {
        if (event.type === "accepted") {
          const canvas = document.createElement("canvas");
          document.body.append(canvas);
          shown[event.index] = painter.show(event.picture, canvas);
        }
        shown[event.index].update();
      }
      await Promise.all(shown.map((each) => each.settled));
    };
  }, url);
  const sizes = [];
  for (let drawn = 0; drawn < pictures; drawn += 4) {
    await page.evaluate(() => globalThis.draw(4));
    if ((drawn + 4) % 20 !== 0) continue;
    await session.send("HeapProfiler.collectGarbage");
    const { usedSize, backingStorageSize = 0 } = await session.send("Runtime.getHeapUsage");
    sizes.push(usedSize + backingStorageSize);
  }
  await page.context().close();
  return sizes;
}

const percentile = (values, share) =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(share * values.length))];
const [slow, endSlow] = await serve(options["seconds-a-row"]);
const { delays, long, end, backend } = await forming(slow);
endSlow();
const [fast, endFast] = await serve("0.002");
const sizes = await heap(fast, Number(options.pictures));
endFast();
await browser.close();
site.close();
const growth = (sizes.at(-1) - sizes[0]) / 1e6;
const round = (value) => Number(value.toFixed(2));
console.log(`the preview runs on ${backend}`);
console.log(
  `a row's bytes to palette pixels: p50 ${round(percentile(delays, 0.5))} ms, p95 ${round(percentile(delays, 0.95))} ms`,
);
console.log(`tasks over 50 ms: ${long.length ? long.join(", ") : "none"}`);
console.log(`finished ${round(end)} ms after the last row`);
console.log(
  `heap after 20 pictures ${round(sizes[0] / 1e6)} MB, after ${options.pictures} ${round(sizes.at(-1) / 1e6)} MB: grown by ${round(growth)} MB`,
);
console.log(
  JSON.stringify({
    backend,
    palette_p50_ms: round(percentile(delays, 0.5)),
    palette_p95_ms: round(percentile(delays, 0.95)),
    long_tasks_ms: long,
    finished_after_ms: round(end),
    heap_growth_mb: round(growth),
  }),
);
