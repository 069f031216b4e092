/** Lengths of bars: by powers of ten, or in proportion. */

export interface Scale {
  readonly low: number;
  readonly high: number;
  /** Spaces between the lines that are drawn behind the bars. */
  readonly steps: number;
  /** The share of the whole length, 0 … 1. */
  length(value: number): number;
}

const ROOM = 0.15; // of a power of ten, that the least value has at least

export function scaleOf(values: readonly number[], isLogarithmic: boolean): Scale {
  const high = Math.max(...values);
  if (!isLogarithmic) {
    return { low: 0, high, steps: 4, length: (value) => value / high };
  }
  const powers = values.filter((value) => value > 0).map(Math.log10);
  if (powers.length === 0) return { low: 0, high: 1, steps: 1, length: () => 0 };
  const least = Math.floor(Math.min(...powers) - ROOM);
  const steps = Math.max(1, Math.ceil(Math.max(...powers)) - least);
  const length = (value: number) => (value > 0 ? (Math.log10(value) - least) / steps : 0);
  return { low: 10 ** least, high: 10 ** (least + steps), steps, length };
}
