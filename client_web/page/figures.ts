/** How long rows took, and what they weigh beside JPEG. */

import type { Client } from "../src/client.js";
import { element } from "./elements.js";
import { size } from "./telling.js";

/** What was counted, as it is kept. */
export interface Counted {
  bytes: number;
  /** Milliseconds from the request to its first row; null before it, and where nobody saw that. */
  firstRow: number | null;
  /** Milliseconds from one row of a picture to its next, summed over `steps`. */
  passed: number;
  steps: number;
}

const LABELS = {
  seed: "Seed",
  first: "First row after",
  pace: "Next rows every",
  bytes: "Received",
  jpeg: "As JPEG",
} as const;

/** Whose bytes came: each is counted once, for whoever asks first after it came. */
export class Meter {
  private counted: number;

  constructor(private readonly client: Client) {
    this.counted = client.bytesReceived;
  }

  /** Bytes since this was called before. */
  take(): number {
    const { bytesReceived } = this.client;
    const bytes = bytesReceived - this.counted;
    this.counted = bytesReceived;
    return bytes;
  }
}

/** The line of figures under the title of a sheet. */
export class Figures {
  readonly list = element("dl", { class: "figures" });
  private readonly values: Partial<Record<keyof typeof LABELS, HTMLElement>> = {};
  private readonly times = new Map<unknown, number>(); // of a picture's last rows

  constructor(
    private readonly counted: Counted = { bytes: 0, firstRow: null, passed: 0, steps: 0 },
  ) {
    this.tell();
  }

  get kept(): Counted {
    return this.counted;
  }

  /** Rows of a picture came, of a request that was made at `begun` on performance.now()'s clock. */
  count(picture: unknown, rows: number, bytes: number, begun: number | undefined): void {
    const now = performance.now();
    const { counted, times } = this;
    const last = times.get(picture);
    if (begun !== undefined && last === undefined) counted.firstRow ??= now - begun;
    if (last !== undefined) {
      counted.passed += now - last;
      counted.steps += rows;
    }
    times.set(picture, now);
    counted.bytes += bytes;
    this.tell();
  }

  /** A picture's seed is known. */
  tellSeed(seed: number): void {
    this.set("seed", `${seed}`);
  }

  /** All pictures are whole, and would weigh so much as JPEG files. */
  tellJpeg(bytes: number, quality: number): void {
    if (this.counted.bytes === 0 || bytes === 0) return;
    const times = bytes / this.counted.bytes;
    const compared = times >= 1.05 ? `, ${times.toFixed(times < 9.95 ? 1 : 0)} times as much` : "";
    this.set("jpeg", `${size(bytes)}${compared}`, `of quality ${100 * quality}`);
  }

  private tell(): void {
    const { bytes, firstRow, passed, steps } = this.counted;
    if (firstRow !== null) this.set("first", duration(firstRow));
    if (steps > 0) this.set("pace", duration(passed / steps));
    if (bytes > 0) this.set("bytes", size(bytes));
  }

  private set(name: keyof typeof LABELS, text: string, title?: string): void {
    let value = this.values[name];
    if (value === undefined) {
      value = element("dd");
      this.values[name] = value;
      const row = element("div", { title }, element("dt", {}, LABELS[name]), value);
      const order = Object.keys(LABELS).filter((each) => each in this.values);
      this.list.insertBefore(row, this.list.children[order.indexOf(name)] ?? null);
    }
    value.textContent = text;
  }
}

function duration(milliseconds: number): string {
  return milliseconds < 1_000
    ? `${Math.round(milliseconds)} ms`
    : `${(milliseconds / 1_000).toFixed(1)} s`;
}
