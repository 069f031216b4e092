/** What is painted in a browser: the pixels of the Python client, and what a first visit takes. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type * as Rowcast from "../../src/index.js";
import { launch, type Served, serve, site } from "../support/browsing.js";

const PYTHONS = process.env.ROWCAST ?? "../.venv/bin/rowcast";
const PROMPT = "a red house at sunset, two palm trees";

const HTML = `<!doctype html><script type="module">
  import * as rowcast from "/dist/index.js";
  globalThis.rowcast = rowcast;
</script>`;

let browser: Browser;
let other: Awaited<ReturnType<typeof site>>; // a page of another origin, with the package
let server: Served;
let page: Page;

/** The package as `npm run build` left it. */
function packageFiles(): Record<string, [string, Uint8Array]> {
  const names = readdirSync("dist", { recursive: true, encoding: "utf-8" });
  const scripts = names.filter((name) => name.endsWith(".js"));
  return Object.fromEntries(
    scripts.map((name) => [`/dist/${name}`, ["text/javascript", readFileSync(join("dist", name))]]),
  );
}

beforeAll(async () => {
  other = await site({ "/": ["text/html", HTML], ...packageFiles() });
  server = await serve("--allow-origin", other.origin);
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
  other?.close();
});

afterEach(() => page?.context().close());

async function open(url: string): Promise<void> {
  page = await (await browser.newContext()).newPage();
  await page.goto(url);
  await page.waitForFunction("globalThis.rowcast");
}

/** Draw one picture in the page; its pixels [side * side * 4] once it has settled. */
function paint(
  quality: Rowcast.Quality,
  seed: number,
): Promise<{ pixels: number[]; tiers: string[] }> {
  const asked = { url: server.url, prompt: PROMPT, quality, seed };
  return page.evaluate(async ({ url, prompt, quality, seed }) => {
    const { Client, Painter } = (globalThis as unknown as { rowcast: typeof Rowcast }).rowcast;
    const client = await Client.connect(url);
    const painter = new Painter(client, { quality });
    const canvas = document.createElement("canvas");
    let shown: Rowcast.Shown | undefined;
    const tiers: string[] = [];
    for await (const event of client.generate({ prompt, seed })) {
      if (event.type === "accepted") shown = painter.show(event.picture, canvas);
      shown?.update();
      tiers.push(shown?.tier ?? "none");
    }
    await shown?.settled;
    tiers.push(shown?.tier ?? "none");
    const { width, height } = canvas;
    const data = canvas.getContext("2d")?.getImageData(0, 0, width, height).data ?? [];
    painter.close();
    client.close();
    return { pixels: [...data], tiers };
  }, asked);
}

/** The pixels of a PNG, as the browser reads them. */
function read(png: Buffer): Promise<number[]> {
  return page.evaluate(async (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes]));
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext("2d");
    context?.drawImage(bitmap, 0, 0);
    return [...(context?.getImageData(0, 0, bitmap.width, bitmap.height).data ?? [])];
  }, png.toString("base64"));
}

test("on a page of another origin, without isolation, the full decoder paints the Python client's pixels", async () => {
  await open(other.origin);
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(false);
  const { pixels, tiers } = await paint("full", 7);
  expect(tiers.at(-1)).toBe("full");
  const folder = mkdtempSync(join(tmpdir(), "rowcast-"));
  const words = ["generate", server.url, PROMPT, "--seed", "7", "--format", "png", "--out", folder];
  execFileSync(PYTHONS, words, { stdio: "ignore" });
  const theirs = await read(readFileSync(join(folder, "image-0.png")));
  expect(pixels.length).toBe(theirs.length);
  const near = pixels.filter((value, at) => Math.abs(value - theirs[at]) <= 1).length;
  expect(near / pixels.length).toBeGreaterThanOrEqual(0.999);
});

test("the preview comes near to the full decoder, without onnxruntime-web", async () => {
  await open(other.origin);
  const asked: string[] = [];
  page.on("request", (request) => asked.push(request.url()));
  const preview = await paint("preview", 7);
  expect(preview.tiers.at(-1)).toBe("preview");
  expect(asked.filter((url) => /runtime|\.onnx/.test(url))).toEqual([]);
  expect(asked.filter((url) => url.endsWith(".bin")).length).toBe(1);
  const { pixels } = await paint("full", 7);
  const squares = pixels.map((value, at) => (value - preview.pixels[at]) ** 2);
  const mean = squares.reduce((sum, each) => sum + each, 0) / (0.75 * squares.length); // opaque
  expect(10 * Math.log10(255 ** 2 / mean)).toBeGreaterThan(28); // decibels
});

test("a first visit to the page stays within its bytes", async () => {
  page = await (await browser.newContext()).newPage();
  const network = await page.context().newCDPSession(page);
  await network.send("Network.enable");
  const urls = new Map<string, string>();
  const bytes = new Map<string, number>();
  network.on("Network.responseReceived", ({ requestId, response }) => {
    urls.set(requestId, response.url);
  });
  network.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
    const url = urls.get(requestId);
    if (url?.startsWith("http")) bytes.set(url, encodedDataLength);
  });
  await page.goto(server.page);
  await page.getByRole("button", { name: "Draw", exact: true }).click();
  await expect
    .poll(() => [...bytes.keys()].some((url) => url.endsWith(".bin")), { timeout: 20_000 })
    .toBe(true);
  const sum = (matches: (url: string) => boolean) =>
    [...bytes].reduce((all, [url, count]) => all + (matches(url) ? count : 0), 0);
  const isWeights = (url: string) => url.endsWith(".bin");
  const isCode = (url: string) => /\.(js|wasm)$/.test(url);
  console.log(
    `first visit: ${sum((url) => !isWeights(url))} bytes until a row is painted, ` +
      `${sum(() => true)} until the preview paints, of which code ${sum(isCode)}`,
  );
  expect(sum((url) => !isWeights(url))).toBeLessThanOrEqual(150_000);
  expect(sum(() => true)).toBeLessThanOrEqual(1_500_000);
  expect(sum(isCode)).toBeLessThanOrEqual(40_000);
  expect([...bytes.keys()].filter((url) => /runtime\//.test(url))).toEqual([]);
});

test("a file that is cut short is told in words, and rows are painted all the same", async () => {
  page = await (await browser.newContext()).newPage();
  await page.route("**/*.bin", async (route) => {
    const begin = Number(/\d+/.exec(route.request().headers().range ?? "")?.[0] ?? 0);
    const response = await route.fetch();
    const body = (await response.body()).subarray(0, Math.max(0, 100_000 - begin));
    await route.fulfill({ response, body, headers: {} });
  });
  await page.goto(server.page);
  await page.getByRole("button", { name: "Draw", exact: true }).click();
  await page.getByRole("alert").filter({ hasText: "did not come" }).waitFor({ timeout: 30_000 });
  await page.getByText("done", { exact: true }).first().waitFor();
  const isPainted = await page.evaluate(() => {
    const canvas = document.querySelector("canvas");
    const data = canvas?.getContext("2d")?.getImageData(0, 0, 1, canvas.height).data;
    return data?.every((value, at) => at % 4 !== 3 || value === 255);
  });
  expect(isPainted).toBe(true);
});
