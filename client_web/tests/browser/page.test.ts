/** The page in Chromium: pictures are drawn, stopped, finished, branched, replayed and saved. */

import { readFileSync } from "node:fs";
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { rowsFile, SavedPicture } from "../../src/wire/index.js";
import { launch, type Served, serve } from "../support/browsing.js";
import { Visit } from "../support/visiting.js";

const PROMPT = "clear dawn over the sea, a sailing boat with a yellow sail";
const MANIFEST = "../server/rowcast_server/models/postcard/manifest.json";

interface Manifest {
  files: { sha256: string; metadata: Record<string, string> }[];
}

let browser: Browser;
let server: Served;
let visit: Visit;

beforeAll(async () => {
  server = await serve("--threads", "1"); // slow enough to be stopped
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
});

afterEach(async () => {
  expect(visit.faults).toEqual([]);
  await visit.close();
});

async function visitPage(): Promise<void> {
  visit = await Visit.to(server.page, browser, { acceptDownloads: true });
}

/** The bytes of what a button has the browser save, and their name. */
async function saved(button: string): Promise<[name: string, bytes: Uint8Array]> {
  const coming = visit.page.waitForEvent("download");
  await visit.page.getByRole("button", { name: button }).first().click();
  const download = await coming;
  return [download.suggestedFilename(), readFileSync(await download.path())];
}

test("a picture forms, and is weighed against JPEG", async () => {
  await visitPage();
  await visit.draw({ prompt: PROMPT, images: 2, seed: 7 });
  const canvas = visit.sheet().locator("canvas").first();
  expect(await canvas.getAttribute("aria-label")).toContain(PROMPT);
  const held = await visit.rows(1);
  expect(held).toBeLessThan(16);
  await visit.isDone();
  const [one, other] = await visit.paintings();
  expect(one).not.toBe(other);
  await visit.sheet().getByText("times as much").waitFor();
  const figures = await visit.sheet().locator(".figures").innerText();
  expect(figures).toMatch(/Seed\s+7\s/);
  expect(figures).toMatch(/First row after\s+[\d.]+ m?s/);
  expect(figures).toMatch(/Next rows every\s+[\d.]+ m?s/);
  const [, received, jpeg] = /Received\s+([\d.]+) kB\s+As JPEG\s+([\d.]+) kB/.exec(figures) ?? [];
  expect(Number(received)).toBeGreaterThanOrEqual(1.02); // 2 pictures of 16 rows of 32 bytes
  expect(Number(received)).toBeLessThan(2);
  expect(Number(jpeg)).toBeGreaterThan(Number(received));
});

test("one is stopped, the others go on; what was stopped is finished as it would have been", async () => {
  await visitPage();
  await visit.draw({ prompt: PROMPT, images: 8, seed: 11 });
  await visit.isDone();
  const whole = await visit.paintings();
  await visit.draw({ prompt: PROMPT, images: 8, seed: 11 });
  await visit.rows(2);
  await visit.page.getByRole("button", { name: "Stop, picture 2" }).click();
  await visit.page.getByRole("button", { name: "Finish, picture 2" }).waitFor();
  const [, stopped] = await visit.states();
  expect(stopped).toMatch(/^stopped, ([2-9]|1[0-5]) of 16 rows$/);
  await visit.page.getByRole("button", { name: "Finish, picture 2" }).click();
  await visit.isDone();
  expect(await visit.paintings()).toEqual(whole);
});

test("the first rows of all are drawn, the good ones kept and finished", async () => {
  await visitPage();
  await visit.draw({ prompt: PROMPT, images: 4, seed: 12, stopRow: 6 });
  await visit.page.getByRole("checkbox", { name: "Keep picture 3" }).waitFor();
  await visit.page.waitForFunction(() => document.querySelectorAll(".replay").length === 4);
  expect(await visit.states()).toEqual(Array(4).fill("first rows, 6 of 16 rows"));
  await visit.page.getByRole("checkbox", { name: "Keep picture 3" }).check();
  await visit.page.getByRole("checkbox", { name: "Keep picture 4" }).check();
  await visit.page.getByRole("button", { name: "Finish the 2 kept" }).click();
  await visit.rows(16, 3);
  await visit.rows(16, 2);
  const partial = "first rows, 6 of 16 rows";
  expect(await visit.states()).toEqual([partial, partial, "done", "done"]);
  const finished = await visit.paintings();
  await visit.page.reload(); // what was finished is one sheet after a reload, too
  await visit.rows(16, 3);
  expect(await visit.states()).toEqual([partial, partial, "done", "done"]);
  expect(await visit.paintings()).toEqual(finished);
  await visit.draw({ prompt: PROMPT, images: 4, seed: 12, stopRow: "" });
  await visit.isDone();
  expect((await visit.paintings()).slice(2)).toEqual(finished.slice(2));
});

test("other endings are drawn below a row, by pointer and by keyboard", async () => {
  await visitPage();
  await visit.draw({ prompt: PROMPT, images: 1, seed: 13 });
  await visit.isDone();
  const [, first] = await saved(".rows, picture 1");
  const slider = visit.page.getByRole("slider", { name: "Other endings of picture 1" });
  const { width, height } = (await slider.boundingBox()) ?? { width: 0, height: 0 };
  await slider.click({ position: { x: width / 3, y: (5 / 16) * height + 1 } });
  await visit.isDone();
  expect(await visit.sheet().locator("h2").textContent()).toContain("from row 5 on");
  const [, second] = await saved(".rows, picture 1");
  const [one, other] = [first, second].map((bytes) => new SavedPicture(bytes));
  expect(other.seed).not.toBe(13);
  expect(other.ids.slice(0, 5 * 16)).toEqual(one.ids.slice(0, 5 * 16));
  expect(other.ids).not.toEqual(one.ids);

  const older = visit.sheet(1).getByRole("slider", { name: "Other endings of picture 1" });
  await older.focus();
  await visit.page.keyboard.press("Home");
  await visit.page.keyboard.press("ArrowDown");
  expect(await older.getAttribute("aria-valuetext")).toBe("below row 2 of 16");
  await visit.page.keyboard.press("Enter");
  await visit.isDone();
  expect(await visit.sheet().locator("h2").textContent()).toContain("from row 2 on");
});

test("a touch chooses a row, a second one draws", async () => {
  visit = await Visit.to(server.page, browser, {
    ...{ hasTouch: true, isMobile: true, viewport: { width: 360, height: 780 } },
  });
  await visit.draw({ prompt: PROMPT, images: 1, seed: 14 });
  await visit.isDone();
  const slider = visit.page.getByRole("slider", { name: "Other endings of picture 1" });
  const { height } = (await slider.boundingBox()) ?? { height: 0 };
  const position = { x: 40, y: (10 / 16) * height };
  await slider.tap({ position });
  expect(await slider.getAttribute("aria-valuenow")).toBe("10");
  expect(await visit.page.locator(".sheet").count()).toBe(1);
  await slider.tap({ position });
  await visit.isDone();
  expect(await visit.page.locator(".sheet").count()).toBe(2);
});

test("pictures are joined, and taken apart again", async () => {
  await visitPage();
  await visit.draw({ prompt: PROMPT, images: 6, seed: 15 });
  await visit.isDone();
  await visit.page.getByRole("button", { name: "Join seamlessly" }).click();
  const mosaic = visit.page.locator(".mosaic");
  const { width, height } = await mosaic.evaluate(({ width, height }: HTMLCanvasElement) => ({
    ...{ width, height },
  }));
  expect([width, height]).toEqual([3 * 128, 2 * 128]);
  expect(await visit.sheet().locator(".state").count()).toBe(0);
  await visit.page.getByRole("button", { name: "Side by side" }).click();
  expect(await visit.states()).toEqual(Array(6).fill("done"));
});

test("a picture is replayed, and saved as PNG, GIF and .rows; its file is shown and continued", async () => {
  await visitPage();
  await visit.draw({ prompt: PROMPT, images: 1, seed: 16, stopRow: 9 });
  const replay = visit.page.getByRole("slider", { name: "Replay of picture 1" });
  await replay.waitFor();
  const [now] = await visit.paintings();
  await replay.fill("3");
  const [before] = await visit.paintings();
  expect(before).not.toBe(now);
  const [png, pngBytes] = await saved("PNG, picture 1");
  expect(png).toBe("clear-dawn-over-the-sea-a-16-0.png");
  expect([...pngBytes.slice(1, 4)]).toEqual([..."PNG"].map((letter) => letter.charCodeAt(0)));
  await replay.fill("9");
  expect(await visit.paintings()).toEqual([now]);

  const [gif, gifBytes] = await saved("GIF, picture 1");
  expect(gif).toMatch(/\.gif$/);
  const text = Buffer.from(gifBytes).toString("latin1");
  expect(text.slice(0, 6)).toBe("GIF89a");
  expect(text.split("\x21\xf9\x04").length - 1).toBe(9); // a graphic control extension a frame

  const [name, bytes] = await saved(".rows, picture 1");
  expect(new SavedPicture(bytes).rowsHeld).toBe(9);
  await visit.page.reload();
  await visit.isReady();
  await visit.page.getByRole("button", { name: "Remove" }).click();
  expect(await visit.page.locator(".sheet").count()).toBe(0);
  await drop(name, bytes);
  expect(await visit.states()).toEqual(["first rows, 9 of 16 rows"]);
  expect(await visit.paintings()).toEqual([now]);
  await visit.page.getByRole("button", { name: "Finish, picture 1" }).click();
  await visit.isDone();
  const [, all] = await saved(".rows, picture 1");
  const whole = new SavedPicture(all);
  expect([whole.seed, whole.rowsHeld]).toEqual([16, 16]);
  expect(rowsFile(whole)).toEqual(new Uint8Array(all));
});

test("what waits says its place in the queue", async () => {
  const narrow = await serve("--threads", "1", "--slots", "1");
  try {
    visit = await Visit.to(narrow.page, browser);
    await visit.draw({ prompt: PROMPT, images: 3, stopRow: 8 });
    await visit.sheet().getByText("number 1 in the queue").waitFor();
    await visit.page.getByRole("button", { name: "Stop all" }).click();
    await visit.page.getByText("0 of 3 pictures done").waitFor({ state: "attached" });
    expect((await visit.states()).every((state) => /^(stopped|first rows)/.test(state))).toBe(true);
  } finally {
    await narrow.close();
  }
});

test("without the preview's weights the palette paints, and the page says so", async () => {
  await visitPage();
  const broken = await Visit.to("about:blank", browser);
  const isWeights = ({ metadata }: Manifest["files"][number]) =>
    metadata["rowcast.kind"] === "preview_weights";
  const { files }: Manifest = JSON.parse(readFileSync(MANIFEST, "utf-8"));
  await broken.page.route(`**/*${files.find(isWeights)?.sha256}*`, (route) => route.abort());
  await broken.page.goto(server.page);
  await broken.draw({ prompt: PROMPT, images: 1 });
  await broken.page.getByRole("alert").getByText("painted more coarsely").waitFor();
  await broken.isDone();
  const colours = await broken.page.evaluate(() => {
    const canvas = document.querySelector("canvas") as HTMLCanvasElement;
    const data = canvas.getContext("2d")?.getImageData(0, 0, 128, 128).data;
    return new Set(new Uint32Array(data?.buffer ?? new ArrayBuffer(0))).size;
  });
  expect(colours).toBeGreaterThan(10);
  await broken.close();
});

test("a file that is none is told in words", async () => {
  await visitPage();
  await visit.isReady();
  await drop("holiday.rows", new TextEncoder().encode("no picture"));
  const problem = visit.page.getByRole("alert");
  expect(await problem.locator("p").textContent()).toMatch(
    /^holiday\.rows: this is no \.rows file: /,
  );
});

async function drop(name: string, bytes: Uint8Array): Promise<void> {
  const transfer = await visit.page.evaluateHandle(
    ({ name, bytes }) => {
      const made = new DataTransfer();
      made.items.add(new File([new Uint8Array(bytes)], name));
      return made;
    },
    { name, bytes: [...bytes] },
  );
  await visit.page.dispatchEvent("main", "drop", { dataTransfer: transfer });
  await visit.page.waitForSelector(".sheet, #problem:not([hidden])");
}
