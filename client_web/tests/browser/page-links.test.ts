/** The page in Chromium when links break: reloads, other tabs, servers that end, tokens. */

import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { launch, type Served, serve } from "../support/browsing.js";
import { Visit } from "../support/visiting.js";

const PROMPT = "a field of snow at sunset under a clear sky, three round trees";

let browser: Browser;
let server: Served;
let visits: Visit[] = [];

beforeAll(async () => {
  server = await serve("--threads", "1"); // slow enough to be watched
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
});

afterEach(async () => {
  for (const visit of visits) await visit.close();
  visits = [];
});

async function visitPage(url = server.page, options = {}): Promise<Visit> {
  const visit = await Visit.to(url, browser, options);
  visits.push(visit);
  return visit;
}

/** What `seed` draws where nothing disturbs it. */
async function undisturbed(images: number, seed: number): Promise<number[]> {
  const visit = await visitPage();
  await visit.draw({ prompt: PROMPT, images, seed });
  await visit.isDone();
  return visit.paintings();
}

test("a reload in mid-picture goes on, and ends as the same pictures", async () => {
  const due = await undisturbed(6, 21);
  const visit = await visitPage();
  await visit.draw({ prompt: PROMPT, images: 6, seed: 21 });
  const held = await visit.rows(4);
  expect(held).toBeLessThan(14);
  await visit.page.reload();
  expect(await visit.rows(1)).toBeGreaterThanOrEqual(held);
  await visit.isDone();
  expect(await visit.paintings()).toEqual(due);
  expect(await visit.page.locator(".sheet").count()).toBe(1);
  await visit.page.reload(); // and what is done is there again
  await visit.isDone();
  expect(await visit.paintings()).toEqual(due);
  expect(visit.faults).toEqual([]);
});

test("another tab watches the same job by its link, from the rows that there are", async () => {
  const visit = await visitPage(server.page, {
    permissions: ["clipboard-write", "clipboard-read"],
  });
  await visit.draw({ prompt: PROMPT, images: 12, seed: 22 });
  await visit.rows(3);
  await visit.page.getByRole("button", { name: "Copy link" }).click();
  await visit.page.getByText("The link is copied").first().waitFor();
  const link = await visit.page.evaluate(() => navigator.clipboard.readText());
  expect(link).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/#rowcast%3Aws/);
  const other = await visitPage(link);
  expect(await other.rows(3)).toBeLessThan(16);
  await visit.isDone();
  await other.isDone();
  expect(await other.paintings()).toEqual(await visit.paintings());
  expect(await other.sheet().locator("h2").textContent()).toBe("Shared with you");
  expect(await other.page.getByRole("slider", { name: /Other endings/ }).count()).toBe(0);
  await other.page.reload(); // neither lost nor there twice
  await other.isDone();
  expect(await other.page.locator(".sheet").count()).toBe(1);
  expect([...visit.faults, ...other.faults]).toEqual([]);
});

test("pictures go on when the server is killed and comes back", async () => {
  const due = await undisturbed(5, 23);
  const mortal = await serve("--threads", "1");
  const visit = await visitPage(mortal.page);
  await visit.draw({ prompt: PROMPT, images: 5, seed: 23 });
  await visit.rows(3);
  mortal.kill();
  await visit.page.getByText("is gone; looking for it").first().waitFor();
  const { port } = new URL(mortal.page);
  const again = await serve("--threads", "1", "--port", port);
  try {
    await visit.isDone();
    expect(await visit.paintings()).toEqual(due);
  } finally {
    await again.close();
  }
});

test("who has no token is asked for one, in words", async () => {
  const tokens = join(tmpdir(), `rowcast-tokens-${process.pid}`);
  writeFileSync(tokens, "a-token-of-this-test\n");
  const guarded = await serve("--token-file", tokens);
  try {
    const visit = await visitPage(guarded.page);
    const problem = visit.page.getByRole("alert");
    await problem.getByText("asks for a token").waitFor();
    await visit.page.getByLabel("Token").fill("another");
    await visit.page.getByRole("button", { name: "Connect" }).click();
    await problem.getByText("does not take this token").waitFor();
    await visit.page.getByLabel("Token").fill("a-token-of-this-test");
    await visit.page.keyboard.press("Enter");
    await visit.draw({ prompt: PROMPT, images: 1 });
    await visit.isDone();
    await visit.page.reload(); // it is asked for once
    await visit.isReady();
    expect(visit.faults).toEqual([]);
  } finally {
    await guarded.close();
  }
});

test("a link to another server names it first", async () => {
  const other = await serve("--allow-origin", new URL(server.page).origin);
  try {
    const first = await visitPage(other.page);
    await first.draw({ prompt: PROMPT, images: 1 });
    await first.isDone();
    await first.page.evaluate(() => {
      Object.defineProperty(navigator, "clipboard", { value: undefined });
    });
    await first.page.getByRole("button", { name: "Copy link" }).click();
    const [, hash] = (await first.page.getByLabel("Link", { exact: true }).inputValue()).split("#");

    const visit = await visitPage(`${server.page}#${hash}`);
    const { host } = new URL(other.page);
    await visit.page.getByRole("alert").getByText(`another server, ${host}`).waitFor();
    expect(await visit.page.locator("#draw").isDisabled()).toBe(true);
    await visit.page.getByRole("button", { name: `Connect to ${host}` }).click();
    await visit.isDone();
    expect(await visit.paintings()).toEqual(await first.paintings());
    expect(visit.faults).toEqual([]);
  } finally {
    await other.close();
  }
});

test("a link that is none is told in words, and the page can be used", async () => {
  const visit = await visitPage(`${server.page}#rowcast%3Anonsense`);
  await visit.page.getByRole("alert").getByText("leads nowhere").waitFor();
  await visit.isReady();
  expect(visit.faults).toEqual([]);
});
