/** Visits to the page: what is on it, and what its console said. */

import type { Browser, BrowserContextOptions, Locator, Page } from "playwright-core";

export class Visit {
  /** Errors of the console and of scripts. */
  readonly faults: string[] = [];

  constructor(readonly page: Page) {
    page.on("console", (message) => {
      if (message.type() === "error") this.faults.push(message.text());
    });
    page.on("pageerror", (error) => this.faults.push(error.message));
  }

  /** Another tab of the same browser session, or a first one. */
  static async to(
    url: string,
    browser: Browser,
    options: BrowserContextOptions = {},
  ): Promise<Visit> {
    const visit = new Visit(await (await browser.newContext(options)).newPage());
    await visit.page.goto(url);
    return visit;
  }

  /** The form takes requests. */
  async isReady(): Promise<this> {
    await this.page.waitForSelector("#draw:enabled");
    return this;
  }

  async draw(fields: Record<string, string | number> = {}): Promise<void> {
    await this.isReady();
    for (const [name, value] of Object.entries(fields)) {
      await this.page.fill(`[name=${name}]`, `${value}`);
    }
    await this.page.click("#draw");
  }

  /** The newest sheet, or an older one. */
  sheet(number = 0): Locator {
    return this.page.locator(".sheet").nth(number);
  }

  states(sheet = this.sheet()): Promise<string[]> {
    return sheet.locator(".state").allTextContents();
  }

  /** Rows that picture `number` of a sheet says to hold, once there are so many. */
  async rows(least: number, number = 0): Promise<number> {
    const state = this.sheet().locator(".state").nth(number);
    for (;;) {
      const text = (await state.textContent({ timeout: 30_000 })) ?? "";
      const held = text === "done" ? 16 : Number(/(\d+) of/.exec(text)?.[1] ?? 0);
      if (held >= least) return held;
      await this.page.waitForTimeout(15);
    }
  }

  /** All pictures of a sheet are whole, and painted by the preview. */
  async isDone(sheet = this.sheet()): Promise<void> {
    await sheet.locator(".replay").first().waitFor();
    await sheet.page().waitForFunction(
      (element) => {
        const states = [...(element?.querySelectorAll(".state") ?? [])];
        return states.length > 0 && states.every(({ textContent }) => textContent === "done");
      },
      await sheet.elementHandle(),
    );
  }

  /** Pixels of each picture of a sheet, once nothing more is painted, as one number each. */
  async paintings(sheet = this.sheet()): Promise<number[]> {
    const look = () =>
      sheet.locator(".frame canvas").evaluateAll((canvases) =>
        (canvases as HTMLCanvasElement[]).map((canvas) => {
          const { width, height } = canvas;
          const data = canvas.getContext("2d")?.getImageData(0, 0, width, height).data ?? [];
          let hash = 0;
          for (const value of data) hash = (Math.imul(hash, 31) + value) | 0;
          return hash;
        }),
      );
    await this.page.getByText("painted by Web").waitFor();
    for (let before = await look(); ; ) {
      await this.page.waitForTimeout(400);
      const now = await look();
      if (String(now) === String(before)) return now;
      before = now;
    }
  }

  close(): Promise<void> {
    return this.page.context().close();
  }
}
