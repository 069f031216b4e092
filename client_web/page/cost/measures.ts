/** What is asked of every way: its columns, which of them is the bar, and how it is computed. */

import type { Answers } from "./arithmetic.js";
import type { Name } from "./figures.js";
import { bytes, count, decibels, exactBytes, milliseconds, price } from "./words.js";

export interface Column {
  readonly head: string;
  readonly value: (way: Name) => number | null;
  readonly told: (value: number) => string;
}

export interface Measure {
  readonly id: string;
  readonly title: string;
  readonly about: string;
  readonly columns: readonly Column[];
  /** The columns that the bar and the line beyond it show. */
  readonly bar: number;
  readonly beyond?: number;
  /** Lengths by powers of ten; a scale of dB is one already. */
  readonly isLogarithmic: boolean;
  /** Columns in which tokens are held against pictures; `more` wins or less. */
  readonly judged: readonly { readonly column: number; readonly what: string }[];
  readonly wins: "less" | "more";
  /** By how many % a ratio differs when it is measured again: nearer than that is even. */
  readonly blur: number;
  readonly formula: string;
  /** The formula with the numbers of a way; nothing is computed of what was measured as it is. */
  readonly worked?: (way: Name) => string;
  /** Some values of it may be computed from bytes and link, not measured. */
  readonly isOfLink: boolean;
}

const LESS = { wins: "less", isLogarithmic: true, isOfLink: false } as const;

export function measures(answers: Answers): Measure[] {
  return [...transfers(answers), ...delays(answers), ...efforts(answers), looks(answers)];
}

/** `visit`, or `month`, whichever pictures are counted by. */
export function first(answers: Answers): string {
  return `first ${answers.setup.per}`;
}

function read(what: string, where: string): string {
  return `Not computed but read from the results: ${what}, of ${where}.`;
}

function transfers(answers: Answers): Measure[] {
  const { setup } = answers;
  const later = setup.per === "visit" ? "return visit" : "later month";
  return [
    {
      ...LESS,
      id: "bytes",
      title: "Bytes down",
      about:
        `Of ${exactBytes(setup.pictures)} pictures: the bar is a ${later}, the line beyond it the ` +
        `${first(answers)}, which downloads the decoder. Packets' heads are not counted.`,
      columns: [
        { head: "a picture", value: (way) => answers.bytes(way).picture, told: exactBytes },
        { head: later, value: (way) => answers.bytes(way).again, told: bytes },
        { head: first(answers), value: (way) => answers.bytes(way).first, told: bytes },
      ],
      bar: 1,
      beyond: 2,
      judged: [
        { column: 2, what: `bytes of the ${first(answers)}` },
        { column: 1, what: `bytes of a ${later}` },
      ],
      blur: 0,
      formula: "download + pictures × bytes of a picture",
      worked: (way) =>
        `${exactBytes(answers.download(way).bytes)} + ${exactBytes(setup.pictures)} × ` +
        `${exactBytes(answers.work(way).bytes)} = ${exactBytes(answers.bytes(way).first)} bytes`,
    },
  ];
}

function delays(answers: Answers): Measure[] {
  const blur = answers.figures.repeatability.finalAdded;
  const measured = { ...LESS, blur, isOfLink: true, bar: 0 };
  return [
    {
      ...measured,
      id: "first-row",
      title: "Time to the first row",
      about: "From the request until something of the picture is to be seen, on a return visit.",
      columns: [
        { head: "first row", value: (way) => answers.times(way).firstRow, told: milliseconds },
      ],
      judged: [{ column: 0, what: "time to the first row" }],
      formula: read("first_row_ms", "this pace, link and way"),
    },
    {
      ...measured,
      id: "row-to-glass",
      title: "Row-to-glass",
      about:
        "From a row on the server to pixels that show it: the bar is the median, the line beyond " +
        "it the 99th percentile.",
      columns: [
        { head: "p50", value: (way) => answers.times(way).median, told: milliseconds },
        { head: "p99", value: (way) => answers.times(way).slowest, told: milliseconds },
      ],
      beyond: 1,
      judged: [
        { column: 0, what: "median from a row to its pixels" },
        { column: 1, what: "99th percentile from a row to its pixels" },
      ],
      formula: read("p50 and p99 of row_to_glass_ms", "this pace, link and way"),
    },
    {
      ...measured,
      id: "final",
      title: "Added to the final picture",
      about: "From the last row on the server to the final picture on the screen.",
      columns: [
        { head: "added", value: (way) => answers.times(way).finalAdded, told: milliseconds },
      ],
      judged: [{ column: 0, what: "time added to the final picture" }],
      formula: read("final_added_ms", "this pace, link and way"),
    },
  ];
}

function efforts(answers: Answers): Measure[] {
  const { setup, gallery, figures } = answers;
  const { serverCpu, viewerCpu } = figures.repeatability;
  const onGpu = setup.decoder === "gpu";
  return [
    {
      ...LESS,
      id: "work",
      title: "The server's work, beyond drawing",
      about:
        `CPU and GPU time of a picture. Pictures are decoded on the ${onGpu ? "GPU" : "CPU"} ` +
        "before they are sent; tokens are not decoded there at all.",
      columns: [
        { head: "CPU", value: (way) => 1e3 * answers.server(way).cpu, told: milliseconds },
        { head: "GPU", value: (way) => 1e3 * answers.server(way).gpu, told: milliseconds },
      ],
      bar: 0,
      judged: [],
      blur: serverCpu,
      formula: onGpu
        ? "CPU = CPU in all − CPU of decodes; GPU = decodes × GFLOP a decode ÷ rate of the GPU"
        : "CPU = CPU in all, decodes included; GPU = 0",
      worked: (way) => {
        const { serverCpu, decodeCpu, decodes } = answers.work(way);
        if (!onGpu) return `CPU ${milliseconds(serverCpu)}`;
        return (
          `CPU ${serverCpu.toFixed(1)} − ${decodeCpu.toFixed(1)} = ` +
          `${(serverCpu - decodeCpu).toFixed(1)} ms; GPU ${decodes} × ${gallery.gflop} GFLOP ÷ ` +
          `${setup.teraflops} TFLOP/s = ${(1e3 * answers.server(way).gpu).toFixed(2)} ms`
        );
      },
    },
    {
      ...LESS,
      id: "cost",
      title: "Cost of a thousand pictures",
      about:
        "Beyond drawing them: the server's work and traffic, in the currency of your prices. The " +
        `bar has no download in it, the line beyond it has, shared by a ${first(answers)}.`,
      columns: [
        { head: "work", value: (way) => answers.cost(way).computing, told: price },
        { head: "in all", value: (way) => answers.cost(way).again, told: price },
        { head: first(answers), value: (way) => answers.cost(way).first, told: price },
      ],
      bar: 1,
      beyond: 2,
      judged: [
        { column: 2, what: `cost of a thousand pictures of ${first(answers)}s` },
        { column: 1, what: "cost of a thousand pictures, decoders downloaded" },
      ],
      blur: serverCpu,
      formula:
        "1000 × (GPU s × GPU price + CPU s × core price) ÷ 3600 + 1000 × bytes × traffic price " +
        "÷ 10⁹; bytes of a first visit: those of a picture + download ÷ pictures",
      worked: (way) => {
        const { cpu, gpu } = answers.server(way);
        const { computing, first } = answers.cost(way);
        return (
          `1000 × (${price(gpu)} × ${setup.gpu} + ${price(cpu)} × ${setup.core}) ÷ 3600 = ` +
          `${price(computing)}; + 1000 × (${exactBytes(answers.work(way).bytes)} + ` +
          `${exactBytes(answers.download(way).bytes)} ÷ ${exactBytes(setup.pictures)}) × ` +
          `${setup.traffic} ÷ 10⁹ = ${price(first)}`
        );
      },
    },
    {
      ...LESS,
      id: "viewers",
      title: "Viewers that one server sustains",
      about:
        "Each with pictures of its own, drawn one after the other at the pace that is set. Drawing " +
        "itself is not counted, nor is the server's own line.",
      columns: [
        { head: "viewers", value: (way) => answers.sustained(way).viewers, told: count },
        {
          head: `servers for ${exactBytes(setup.viewers)}`,
          value: (way) => answers.sustained(way).servers,
          told: exactBytes,
        },
      ],
      bar: 0,
      judged: [{ column: 0, what: "viewers that one server sustains" }],
      wins: "more",
      blur: serverCpu,
      formula: "the least of cores ÷ CPU s and 1 ÷ GPU s of a picture, × seconds of its generation",
      worked: (way) => {
        const { cpu, gpu } = answers.server(way);
        const { generation } = answers.work(way);
        return (
          `least of ${setup.cores} ÷ ${price(cpu)}${gpu > 0 ? ` and 1 ÷ ${price(gpu)}` : ""}, × ` +
          `${(generation / 1e3).toFixed(3)} s = ` +
          count(answers.sustained(way).viewers)
        );
      },
    },
    {
      ...LESS,
      id: "viewer-cpu",
      title: "The viewer's own CPU",
      about: `What decoding takes on the viewer's side, a picture: here on ${figures.machine}.`,
      columns: [{ head: "CPU", value: (way) => answers.work(way).viewerCpu, told: milliseconds }],
      bar: 0,
      judged: [{ column: 0, what: "the viewer's CPU" }],
      blur: viewerCpu,
      formula: read("client_cpu_ms", "this pace and way, without a link"),
    },
  ];
}

function looks({ figures }: Answers): Measure {
  return {
    id: "looks",
    title: "How near the final picture comes",
    about:
      "PSNR against the picture as the full decoder has it, of postcard's pictures, whichever are " +
      "chosen. Strips never become that picture: they were cut while it was still to change.",
    columns: [
      { head: "final", value: (way) => figures.finalDecibels[way] ?? null, told: decibels },
    ],
    bar: 0,
    isLogarithmic: false,
    judged: [{ column: 0, what: "likeness of the final picture" }],
    wins: "more",
    blur: 0,
    formula: read("the last psnr_db in quality", "postcard and this way"),
    isOfLink: false,
  };
}
