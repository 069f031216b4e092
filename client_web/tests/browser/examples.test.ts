/** The examples for other front ends, as they stand: each draws with a real server. */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Browser, Page } from "playwright-core";
import { build } from "vite";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { launch, type Served, serve, site } from "../support/browsing.js";

const EXAMPLES = resolve("../examples/web");
const GRADIO = process.env.GRADIO_PYTHON ?? "../.venv/gradio/bin/python";
const APP = `
import { createElement, StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { Pictures } from ${JSON.stringify(join(EXAMPLES, "use-rowcast.tsx"))};

const server = new URLSearchParams(location.search).get("server");
function App() {
  const [request, draw] = useState({ prompt: "a blue boat", images: 2, seed: 1 });
  return createElement("div", null,
    createElement("button", { onClick: () => draw({ ...request, seed: request.seed + 1 }) }, "Again"),
    createElement(Pictures, { server, request }));
}
createRoot(document.getElementById("root")).render(createElement(StrictMode, null, createElement(App)));
`;

let browser: Browser;
let other: Awaited<ReturnType<typeof site>>;
let server: Served;
let page: Page;
let faults: string[];

beforeAll(async () => {
  other = await site({
    "/plain.html": ["text/html", readFileSync(join(EXAMPLES, "plain.html"))],
    "/react.html": [
      "text/html",
      '<div id="root"></div><script type="module" src="app.js"></script>',
    ],
    ...(await bundle(APP)),
  });
  server = await serve("--allow-origin", other.origin);
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
  other?.close();
});

afterEach(() => page?.context().close());

/** The files that an app's own bundler makes of a module: itself, with all that it imports, and workers. */
async function bundle(code: string): Promise<Record<string, [string, string]>> {
  const entry = "app.js";
  const built = await build({
    configFile: false,
    logLevel: "error",
    plugins: [
      {
        name: "app",
        resolveId: (id) => (id === entry ? join(process.cwd(), entry) : undefined),
        load: (id) => (id === join(process.cwd(), entry) ? code : undefined),
      },
    ],
    oxc: { jsx: { runtime: "automatic", development: false } },
    define: { "process.env.NODE_ENV": JSON.stringify("production") },
    resolve: {
      alias: [
        { find: /^rowcast$/, replacement: resolve("dist/index.js") },
        { find: /^(react(-dom)?(\/.*)?)$/, replacement: `${resolve("node_modules")}/$1` },
      ],
    },
    build: {
      write: false,
      minify: false,
      rolldownOptions: { input: entry, output: { entryFileNames: "app.js" } },
    },
  });
  if (!("output" in built)) throw new Error("one bundle was expected");
  return Object.fromEntries(
    built.output.map((file) => [
      `/${file.fileName}`,
      ["text/javascript", file.type === "chunk" ? file.code : String(file.source)],
    ]),
  );
}

async function visit(url: string): Promise<void> {
  page = await (await browser.newContext()).newPage();
  faults = [];
  page.on("pageerror", ({ message }) => faults.push(message));
  await page.goto(url);
}

/** The colours of a canvas: none before it is painted. */
function colours(number = 0): Promise<number> {
  return page
    .locator("canvas")
    .nth(number)
    .evaluate((canvas) => {
      const { width, height } = canvas as HTMLCanvasElement;
      const context = (canvas as HTMLCanvasElement).getContext("2d");
      return new Set(new Uint32Array(context?.getImageData(0, 0, width, height).data.buffer ?? []))
        .size;
    });
}

test("one HTML file without a build step, with the server's own client", async () => {
  await visit(`${other.origin}/plain.html?server=${server.page}`);
  await page.getByRole("button", { name: "Draw" }).click();
  await page.getByText(/^\d+ of 16 rows$/).waitFor();
  await page.getByText("done", { exact: true }).waitFor();
  await expect.poll(() => colours(), { timeout: 10_000 }).toBeGreaterThan(1_000);
  await page.fill("[name=prompt]", "a".repeat(100_000));
  await page.getByRole("button", { name: "Draw" }).click();
  await page.getByText("cannot be asked for").waitFor();
  expect(faults).toEqual([]);
});

test("a React hook, also where its request changes while pictures form", async () => {
  await visit(`${other.origin}/react.html?server=${encodeURIComponent(server.url)}`);
  await page
    .getByText(/^[1-9]\d* of 16 rows$/)
    .first()
    .waitFor();
  await page.getByRole("button", { name: "Again" }).click();
  await expect.poll(() => page.getByText("16 of 16 rows").count(), { timeout: 30_000 }).toBe(2);
  await expect.poll(() => colours(1), { timeout: 10_000 }).toBeGreaterThan(1_000);
  expect(await page.getByRole("alert").count()).toBe(0);
  expect(faults).toEqual([]);
});

test("a Gradio block, whose pictures form", async () => {
  const app = spawn(GRADIO, [join(EXAMPLES, "gradio_block.py"), server.url], {
    env: {
      ...process.env,
      GRADIO_ANALYTICS_ENABLED: "False",
      GRADIO_TEMP_DIR: mkdtempSync(join(tmpdir(), "gradio-")),
      PYTHONUNBUFFERED: "1",
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  try {
    await visit(await address(app));
    await page.getByRole("button", { name: "Draw" }).click();
    await page
      .getByText(/^[1-9] of 16 rows$/)
      .first()
      .waitFor({ timeout: 30_000 });
    await expect.poll(() => page.getByText("16 of 16 rows").count(), { timeout: 30_000 }).toBe(4);
  } finally {
    app.kill("SIGKILL");
  }
});

/** Where a Gradio app says that it runs. */
function address(app: ChildProcess): Promise<string> {
  return new Promise((found, fail) => {
    let text = "";
    app.stdout?.on("data", (data) => {
      text += data;
      const url = /http:\/\/127\.0\.0\.1:\d+/.exec(text)?.[0];
      if (url) found(url);
    });
    app.stderr?.on("data", (data) => {
      text += data;
    });
    app.once("error", fail);
    app.once("exit", (code) => fail(new Error(`the app ended with ${code}: ${text}`)));
  });
}
