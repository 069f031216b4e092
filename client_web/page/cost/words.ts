/** Numbers as the calculator says them. */

const PLAIN = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

export function count(value: number): string {
  return value < 10 ? SHORT.format(value) : PLAIN.format(value);
}

/** A file or a total: three digits. */
export function bytes(value: number): string {
  const power = value < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(value) / 3));
  if (power === 0) return `${PLAIN.format(value)} bytes`;
  return `${SHORT.format(value / 1_000 ** power)} ${UNITS[power]}`;
}

/** Bytes to the last one. */
export function exactBytes(value: number): string {
  return PLAIN.format(value);
}

export function milliseconds(value: number): string {
  if (value < 10_000) return `${value < 10 ? SHORT.format(value) : PLAIN.format(value)} ms`;
  return seconds(value / 1_000);
}

export function seconds(value: number): string {
  if (value < 300) return `${SHORT.format(value)} s`;
  if (value < 6_000) return `${SHORT.format(value / 60)} min`;
  return `${SHORT.format(value / 3_600)} h`;
}

/** A price has no currency: it is that of the prices that were put in. */
export function price(value: number): string {
  return SHORT.format(value);
}

export function decibels(value: number): string {
  return value >= 120 ? "exact" : `${value.toFixed(1)} dB`;
}

/** `one`, or `${count} ${many}`. */
export function many(value: number, one: string, more: string): string {
  return value === 1 ? one : `${count(value)} ${more}`;
}

export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
