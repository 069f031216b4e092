/** The page for everybody: axe-core finds nothing in any state, and a phone shows all of it. */

import axe from "axe-core";
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { launch, type Served, serve } from "../support/browsing.js";
import { Visit } from "../support/visiting.js";

const PROMPT = "night over the hills, a balloon and a round moon";

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

afterEach(() => visit?.close());

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
    visit = await Visit.to(server.page, browser, {
      ...{ colorScheme, viewport: { width, height: 800 }, reducedMotion: "reduce" },
    });
    const { page } = visit;
    await visit.isReady();
    const found = await findings("empty");
    await page.getByText("Sampling and painting").click();
    found.push(...(await findings("drawer open")));
    await page.getByText("Sampling and painting").click();

    await visit.draw({ prompt: PROMPT, images: 6, seed: 31, stopRow: 5 });
    await visit.rows(1);
    found.push(...(await findings("forming")));
    await page.getByRole("checkbox", { name: "Keep picture 6" }).check();
    found.push(...(await findings("some kept")));
    await page.getByRole("button", { name: "Remove" }).click();

    await visit.draw({ images: 2, stopRow: "" });
    await visit.isDone();
    found.push(...(await findings("done")));
    await page.getByRole("slider", { name: "Other endings of picture 1" }).focus();
    await page.keyboard.press("ArrowDown");
    found.push(...(await findings("a row is chosen")));
    await page.getByRole("button", { name: "Join seamlessly" }).click();
    found.push(...(await findings("joined")));
    await page.getByRole("button", { name: "Copy link" }).click();
    found.push(...(await findings("a link to copy")));
    await page.setInputFiles("#file", {
      ...{ name: "holiday.rows", mimeType: "", buffer: Buffer.from("nothing") },
    });
    await page.waitForSelector("#problem:not([hidden])");
    found.push(...(await findings("a problem")));
    expect(found).toEqual([]);
    expect(visit.faults).toEqual([]);
  });
});

test("no server, no token: nothing is found there either", async () => {
  const mortal = await serve();
  visit = await Visit.to(mortal.page, browser, { viewport: { width: 360, height: 780 } });
  await visit.isReady();
  await mortal.close();
  await visit.draw({ prompt: PROMPT, images: 1 });
  await visit.page.getByText("is gone; looking for it").first().waitFor();
  expect(await findings("no server")).toEqual([]);
});

test("the switch changes the theme, and a reload keeps it", async () => {
  visit = await Visit.to(server.page, browser, { colorScheme: "light" });
  const { page } = visit;
  const colour = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await colour();
  await page.getByRole("button", { name: "Dark theme" }).click();
  const dark = await colour();
  expect(dark).not.toBe(light);
  await page.reload();
  await page.getByRole("button", { name: "Light theme" }).waitFor();
  expect(await colour()).toBe(dark);
});

test("all is reached by keyboard, and what is done is said once", async () => {
  visit = await Visit.to(server.page, browser);
  const { page } = visit;
  await visit.isReady();
  await page.evaluate(() => {
    const said: string[] = [];
    Object.assign(globalThis, { said });
    const place = document.getElementById("said") as HTMLElement;
    new MutationObserver(() => said.push(place.textContent)).observe(place, { childList: true });
  });
  await page.fill("[name=images]", "4");
  await page.focus("#prompt");
  await page.keyboard.press("Enter");
  await visit.isDone();
  await page.waitForFunction(() => (globalThis as unknown as { said: string[] }).said.length > 1);
  const said = await page.evaluate(() => (globalThis as unknown as { said: string[] }).said);
  expect(said).toEqual([
    expect.stringMatching(/^Drawing: /),
    expect.stringMatching(/^4 of 4 pictures done: /),
  ]);
  await page.focus("#prompt");
  const reached = new Set<string>();
  for (let press = 0; press < 60; press++) {
    await page.keyboard.press("Tab");
    const name = await page.evaluate(
      () => document.activeElement?.ariaLabel ?? document.activeElement?.textContent ?? "",
    );
    reached.add(name.trim());
  }
  const due = ["Draw", "Other endings of picture 4", "Replay of picture 4, by row", "Remove"];
  expect([...reached]).toEqual(expect.arrayContaining([...due, "PNG, picture 1", "Copy link"]));
});
