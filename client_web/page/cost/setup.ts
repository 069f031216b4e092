/** What the reader sets, and its form in the address. */

import type { Figures, Gallery, Name } from "./figures.js";

/** Where pictures are decoded that are sent as pictures. */
export type Decoder = "gpu" | "cpu";
/** A browser fetches the page's code and, for the full decoder, a runtime; an app has them. */
export type Viewer = "browser" | "app";

export interface Setup {
  readonly pictures: number;
  readonly per: "visit" | "month";
  readonly gallery: Name;
  readonly pace: Name;
  readonly link: Name;
  readonly viewers: number;
  readonly viewer: Viewer;
  /** The way of tokens that is held against pictures. */
  readonly tokens: Name;
  /** A way that sends pictures, or `best`: whichever of them does best, each time. */
  readonly against: Name;
  /** Files of the decoder, by "kind precision". */
  readonly preview: Name;
  readonly full: Name;
  readonly decoder: Decoder;
  /** Prices: an hour of the GPU and of a core, and a GB (1e9 bytes). */
  readonly gpu: number;
  readonly core: number;
  readonly traffic: number;
  /** What the GPU multiplies while it decodes, in TFLOP/s. */
  readonly teraflops: number;
  /** Of one server. */
  readonly cores: number;
}

export interface Bounds {
  readonly low: number;
  readonly high: number;
  readonly isWhole: boolean;
}

export const NUMBERS = {
  pictures: { low: 1, high: 1_000_000, isWhole: true },
  viewers: { low: 1, high: 1_000_000, isWhole: true },
  gpu: { low: 0, high: 10_000, isWhole: false },
  core: { low: 0, high: 10_000, isWhole: false },
  traffic: { low: 0, high: 10_000, isWhole: false },
  teraflops: { low: 0.001, high: 1_000_000, isWhole: false },
  cores: { low: 1, high: 10_000, isWhole: true },
} as const satisfies Partial<Record<keyof Setup, Bounds>>;
export type NumberName = keyof typeof NUMBERS;

const SMALLEST_FIRST = ["int8", "fp16", "fp32"];
const DEPENDENT = ["pace", "preview", "full"]; // on pictures and viewer: settled afterwards

/** What can be chosen, given what else is. */
export function choices(figures: Figures, setup: Setup): Record<string, readonly Name[]> {
  const gallery = figures.galleries[setup.gallery];
  const ways = Object.keys(figures.ways);
  return {
    per: ["visit", "month"],
    gallery: Object.keys(figures.galleries),
    pace: Object.keys(gallery.paces),
    link: Object.keys(figures.links),
    viewer: ["browser", "app"],
    tokens: ways.filter((way) => figures.ways[way].tier !== ""),
    against: ["best", ...ways.filter((way) => figures.ways[way].tier === "")],
    preview: previews(gallery, setup.viewer),
    full: filesOf(gallery, "full"),
    decoder: ["gpu", "cpu"],
  };
}

/** A browser's preview runs on kernels of its own, which take a file of their own. */
function previews(gallery: Gallery, viewer: Viewer): Name[] {
  return filesOf(gallery, viewer === "browser" ? "preview_weights" : "preview");
}

function filesOf(gallery: Gallery, kind: string): Name[] {
  const precision = (name: Name) => SMALLEST_FIRST.indexOf(name.split(" ")[1]);
  return Object.keys(gallery.files)
    .filter((name) => name.split(" ")[0] === kind)
    .sort((one, other) => precision(one) - precision(other));
}

/** As it is before anyone sets anything; prices of traffic and of a core are nobody's figures. */
export function usual(figures: Figures): Setup {
  const asked: Setup = {
    ...{ pictures: 20, per: "visit", gallery: "mini", pace: "20ms", link: "3g", viewers: 32 },
    ...{
      viewer: "browser",
      tokens: "tokens_preview",
      against: "best",
      preview: "",
      full: "",
      decoder: "gpu",
    },
    ...{ gpu: figures.gpu.pricePerHour, teraflops: figures.gpu.teraflops, cores: figures.cores },
    ...{ core: 0.04, traffic: 0.08 },
  };
  return settled(figures, asked);
}

/** The same with what depends on pictures and viewer: what is not there gives way to the first. */
export function settled(figures: Figures, setup: Setup): Setup {
  const all = choices(figures, setup);
  const there = (name: "pace" | "preview" | "full") =>
    all[name].includes(setup[name]) ? setup[name] : all[name][0];
  return { ...setup, pace: there("pace"), preview: there("preview"), full: there("full") };
}

/** A number within its bounds, or undefined. */
export function bounded(name: NumberName, text: string): number | undefined {
  const value = Number(text);
  const { low, high, isWhole } = NUMBERS[name];
  const isGood = text.trim() !== "" && value >= low && value <= high;
  return isGood && (!isWhole || Number.isInteger(value)) ? value : undefined;
}

/** The set-up that an address holds; what is missing or cannot be is as usual. */
export function fromAddress(figures: Figures, query: string): Setup {
  const told = new URLSearchParams(query);
  const before = usual(figures);
  const all = choices(figures, before);
  const found = Object.entries(before).map(([name, value]) => {
    const text = told.get(name);
    if (text === null) return [name, value];
    if (name in NUMBERS) return [name, bounded(name as NumberName, text) ?? value];
    const isGood = DEPENDENT.includes(name) || all[name].includes(text);
    return [name, isGood ? text : value];
  });
  return settled(figures, Object.fromEntries(found));
}

/** All of it: an address that was shared means the same when what is usual changes. */
export function toAddress(setup: Setup): string {
  return new URLSearchParams(
    Object.entries(setup).map(([name, value]) => [name, `${value}`]),
  ).toString();
}
