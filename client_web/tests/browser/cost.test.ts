/** The calculator at /cost in Chromium: its figures are the committed ones, and all can use it. */

import { createHash } from "node:crypto";
import axe from "axe-core";
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { combination, results, resultsText } from "../cost/results.js";
import { launch, type Served, serve } from "../support/browsing.js";
import { Visit } from "../support/visiting.js";

const MOST_OF_THE_PAGE = 42_000; // bytes of code that travel on a first visit
const MOST_OF_THE_CALCULATOR = 20_500;

let browser: Browser;
let server: Served;
let visit: Visit;

beforeAll(async () => {
  server = await serve("--threads", "1");
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
});

afterEach(async () => {
  expect(visit?.faults ?? []).toEqual([]);
  await visit?.close();
});

async function open(query = "", options = {}): Promise<void> {
  visit = await Visit.to(`${server.page}cost${query}`, browser, options);
  await visit.page.waitForSelector("#measures table");
}

/** The cells of a table, by row. */
function rows(section: string): Promise<string[][]> {
  return visit.page
    .locator(`#${section} tbody tr`)
    .evaluateAll((lines) =>
      lines.map((line) =>
        [...line.querySelectorAll("th, td:not([aria-hidden])")].map(
          ({ textContent }) => textContent ?? "",
        ),
      ),
    );
}

/** What axe-core finds, and what runs over the edge of the window. */
async function findings(state: string): Promise<string[]> {
  const { page } = visit;
  await page.evaluate(axe.source);
  const found = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: typeof import("axe-core") };
    const { violations } = await axe.run({ resultTypes: ["violations"] });
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join()}`);
  });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  return [...found, ...(wide > 0 ? [`${wide} pixels too wide`] : [])].map(
    (each) => `${state}: ${each}`,
  );
}

describe.each([
  ["light", 1440],
  ["dark", 1440],
  ["light", 360],
  ["dark", 360],
] as const)("%s, %i pixels wide", (colorScheme, width) => {
  test("nothing is found in any state", async () => {
    await open("?link=lossy", { colorScheme, viewport: { width, height: 800 } });
    const { page } = visit;
    const found = await findings("as it opens");
    for (const summary of await page.locator("summary").all()) await summary.click();
    found.push(...(await findings("workings open")));
    await page.fill("[name=pictures]", "");
    found.push(...(await findings("a number is missing")));
    await page.fill("[name=pictures]", "1000000");
    await page.selectOption("[name=tokens]", "tokens_full");
    await page.selectOption("[name=decoder]", "cpu");
    found.push(...(await findings("the largest numbers")));
    await page.getByRole("button", { name: "Copy link" }).click();
    found.push(...(await findings("copied")));
    expect(found).toEqual([]);
  });
});

test("the figures are those of the committed results", async () => {
  await open("?gallery=mini&pace=20ms&link=lossy");
  const hash = createHash("sha256").update(resultsText).digest("hex");
  const shown = await visit.page.locator("#hash").textContent();
  expect(shown).toBe(hash.slice(0, 12)); // if not, the page was built of others: make page
  const exact = new Intl.NumberFormat("en");
  const ways = Object.keys(results.ways);
  const [bytes, glass] = [await rows("bytes"), await rows("row-to-glass")];
  expect(bytes.length).toBe(ways.length);
  ways.forEach((way, index) => {
    const line = combination("mini", "20ms", "loopback", way);
    expect(bytes[index].slice(0, 2)).toEqual([
      results.ways[way].label,
      exact.format(line.payload_bytes),
    ]);
    const over = combination("mini", "20ms", "lossy", way);
    const isComputed = over.kind === "computed";
    expect(glass[index][0].includes("* computed, not measured")).toBe(isComputed);
    const median = over.row_to_glass_ms.p50;
    if (median < 10_000) expect(glass[index][1]).toBe(`${exact.format(Math.round(median))} ms`);
  });
  const computed = ways.some(
    (way) => combination("mini", "20ms", "lossy", way).kind === "computed",
  );
  const notes = visit.page.getByText("* computed from bytes and link, not measured");
  expect(await notes.count()).toBe(computed ? 3 : 0); // one below each table of times
});

test("what is set is in the address, and another tab shows the same", async () => {
  await open();
  const { page } = visit;
  const before = await page.locator("#headline").textContent();
  await page.selectOption("[name=gallery]", "postcard");
  await page.selectOption("[name=against]", "jpeg_end");
  await page.selectOption("[name=per]", "month");
  await page.fill("[name=pictures]", "900");
  await page.fill("[name=gpu]", "3.5");
  const headline = await page.locator("#headline").textContent();
  expect(headline).not.toBe(before);
  await page.getByRole("heading", { name: "Bytes down" }).waitFor();
  expect(await page.locator("#bytes thead").innerText()).toContain("first month");
  const address = page.url();
  await visit.close();
  visit = await Visit.to(address, browser);
  const other = visit.page;
  await other.waitForSelector("#measures table");
  expect(await other.locator("#headline").textContent()).toBe(headline);
  const values = await other
    .locator("#setup :is(input, select)")
    .evaluateAll((fields) => fields.map((field) => (field as HTMLInputElement).value));
  expect(values).toEqual(expect.arrayContaining(["postcard", "jpeg_end", "month", "900", "3.5"]));
  await other.getByRole("button", { name: "Start over" }).click();
  expect(await other.locator("#headline").textContent()).toBe(before);
});

test("a number that cannot be changes no answer, and says that it cannot be", async () => {
  await open();
  const { page } = visit;
  const before = await page.locator("#measures").innerText();
  await page.fill("[name=pictures]", "0");
  const field = page.locator("[name=pictures]");
  expect(await field.getAttribute("aria-invalid")).toBe("true");
  await page.getByText("a whole number, 1 to 1,000,000", { exact: true }).waitFor();
  expect(await page.locator("#measures").innerText()).toBe(before);
  await page.fill("[name=pictures]", "21");
  expect(await field.getAttribute("aria-invalid")).toBeNull();
  expect(await page.locator("#setup small").count()).toBe(0);
  expect(await page.locator("#measures").innerText()).not.toBe(before);
});

test("a jump to an answer goes there, and on from there by keyboard", async () => {
  await open();
  const { page } = visit;
  await page.selectOption("[name=link]", "slow");
  await page.getByRole("link", { name: "Row-to-glass" }).click();
  expect(page.url()).toMatch(/link=slow.*#row-to-glass$/);
  const { y } = (await page.locator("#row-to-glass").boundingBox()) ?? { y: -1 };
  expect(Math.abs(y)).toBeLessThan(40);
  await page.keyboard.press("Tab");
  const where = await page.evaluate(() => document.activeElement?.closest("section")?.id);
  expect(where).toBe("row-to-glass");
});

test("the page leads here and back, and what is open stays open", async () => {
  visit = await (await Visit.to(server.page, browser)).isReady();
  const { page } = visit;
  await page.getByRole("link", { name: "What it costs" }).click();
  await page.waitForSelector("#measures table");
  expect(new URL(page.url()).pathname).toBe("/cost");
  await page.locator("#cost summary").click();
  await page.selectOption("[name=link]", "slow");
  expect(await page.locator("#cost details").getAttribute("open")).not.toBeNull();
  await page.getByRole("link", { name: "Draw pictures" }).click();
  await visit.isReady();
});

test("all is reached by keyboard, and a change is said once", async () => {
  await open();
  const { page } = visit;
  await page.evaluate(() => {
    const said: string[] = [];
    Object.assign(globalThis, { said });
    const place = document.getElementById("said") as HTMLElement;
    new MutationObserver(() => said.push(place.textContent ?? "")).observe(place, {
      childList: true,
    });
  });
  await page.focus("[name=pictures]");
  await page.keyboard.press("End");
  await page.keyboard.type("00");
  await page.waitForFunction(() => (globalThis as unknown as { said: string[] }).said.length > 0);
  await page.waitForTimeout(900);
  const said = await page.evaluate(() => (globalThis as unknown as { said: string[] }).said);
  expect(said).toEqual([await page.locator("#headline").textContent()]);
  const reached = new Set<string>();
  for (let press = 0; press < 50; press++) {
    reached.add(
      await page.evaluate(() => {
        const active = document.activeElement as HTMLInputElement;
        return active.name || (active.textContent ?? "").trim();
      }),
    );
    await page.keyboard.press("Tab");
  }
  const fields = await page
    .locator("#setup :is(input, select)")
    .evaluateAll((all) => all.map((field) => (field as HTMLInputElement).name));
  expect(fields.length).toBeGreaterThan(10);
  const due = [...fields, "Copy link to this set-up", "Start over", "Row-to-glass"];
  expect([...reached]).toEqual(expect.arrayContaining([...due, "How it is computed"]));
});

test("bars read without colour: tokens are solid, pictures hatched", async () => {
  await open();
  const look = (kind: string) =>
    visit.page
      .locator(`#bytes .${kind} i:not(.beyond)`)
      .first()
      .evaluate((bar) => getComputedStyle(bar).backgroundImage.split("(")[0]);
  expect(await look("by-tokens")).toBe("none");
  expect(await look("by-pictures")).toBe("repeating-linear-gradient");
});

test("the page fetches nothing of the calculator, and both are small", async () => {
  const page = await codeOf("");
  const calculator = await codeOf("cost");
  expect([...page.keys()].filter((name) => name.includes("cost"))).toEqual([]);
  expect(total(page)).toBeLessThanOrEqual(MOST_OF_THE_PAGE);
  expect(total(calculator)).toBeLessThanOrEqual(MOST_OF_THE_CALCULATOR);
});

/** Bytes that travel of a document and of the code that it leads to, by name. */
async function codeOf(document: string): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  const due = [document];
  for (const name of due) {
    const response = await fetch(`${server.page}${name}`);
    const text = await response.text();
    expect(response.headers.get("content-encoding")).toBe("gzip");
    found.set(name, Number(response.headers.get("content-length")));
    for (const [file] of text.matchAll(/[\w-]+-[\w-]{8}\.(?:js|css)/g)) {
      if (!due.includes(`assets/${file}`)) due.push(`assets/${file}`);
    }
  }
  return found;
}

function total(code: Map<string, number>): number {
  return [...code.values()].reduce((sum, bytes) => sum + bytes, 0);
}
