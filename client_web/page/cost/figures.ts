/** What the calculator takes of bench/results/transport.json, as tools/transport-figures.ts cuts it. */

export type Name = string;
export type Named<T> = Record<Name, T>;

/** What a picture costs by a way, whatever the link: measured on loopback. */
export interface Work {
  /** Payload down, of a picture. */
  readonly bytes: number;
  /** CPU of the server beyond drawing, milliseconds; decodes are part of it. */
  readonly serverCpu: number;
  readonly decodeCpu: number;
  readonly decodes: number;
  readonly viewerCpu: number;
  /** Milliseconds from the request to the last row. */
  readonly generation: number;
}

/** Milliseconds of a way over a link. */
export interface Times {
  readonly firstRow: number;
  readonly median: number;
  readonly slowest: number;
  readonly finalAdded: number;
  /** From bytes and link, not measured. */
  readonly isComputed: boolean;
}

export interface Way {
  readonly label: string;
  /** What a viewer of tokens paints with: palette, preview or full; empty where pictures are sent. */
  readonly tier: string;
  /** Something is to be seen before the last row. */
  readonly isForming: boolean;
}

export interface Gallery {
  readonly label: string;
  /** The server's decodes are in the times. */
  readonly decodesInRun: boolean;
  /** GFLOP of a decode, and its milliseconds on the server's CPU. */
  readonly gflop: number;
  readonly decodeMilliseconds: number;
  /** Bytes of the decoder's files, by "kind precision". */
  readonly files: Named<number>;
  /** Seconds a row. */
  readonly paces: Named<number>;
}

export interface Link {
  readonly label: string;
  /** Seconds. */
  readonly roundTrip: number;
  /** The share of packets. */
  readonly loss: number;
}

export interface Figures {
  /** Of the whole JSON. */
  readonly sha256: string;
  readonly machine: string;
  readonly cores: number;
  readonly gpu: { readonly pricePerHour: number; readonly teraflops: number };
  /** Bytes of code that a browser fetches. */
  readonly code: { readonly page: number; readonly runtime: number };
  readonly links: Named<Link>;
  readonly ways: Named<Way>;
  readonly galleries: Named<Gallery>;
  /** By gallery, pace and way. */
  readonly work: Named<Named<Named<Work>>>;
  /** By gallery, pace, link and way. */
  readonly times: Named<Named<Named<Named<Times>>>>;
  /** Seconds of a file of a gallery's decoder over a link, alone on it; none of loopback. */
  readonly downloads: Named<Named<Named<number>>>;
  /** Of a final picture of postcard, by way: dB against the one that was drawn; 120 is exact. */
  readonly finalDecibels: Named<number>;
  /** By how many % a ratio to 8 JPEGs changed at most when all was measured again. */
  readonly repeatability: {
    readonly serverCpu: number;
    readonly viewerCpu: number;
    readonly finalAdded: number;
  };
}

/** As they travel: times and work as lists in the order of the interfaces above. */
export interface PackedFigures extends Omit<Figures, "work" | "times"> {
  readonly work: Named<Named<Named<number[]>>>;
  readonly times: Named<Named<Named<Named<number[]>>>>;
}

export function unpack(packed: PackedFigures): Figures {
  const work = each(packed.work, (paces) => each(paces, (ways) => each(ways, toWork)));
  const times = each(packed.times, (paces) =>
    each(paces, (links) => each(links, (ways) => each(ways, toTimes))),
  );
  return { ...packed, work, times };
}

export function each<T, U>(named: Named<T>, change: (value: T, name: Name) => U): Named<U> {
  return Object.fromEntries(
    Object.entries(named).map(([name, value]) => [name, change(value, name)]),
  );
}

function toWork(list: number[]): Work {
  const [bytes, serverCpu, decodeCpu, decodes, viewerCpu, generation] = list;
  return { bytes, serverCpu, decodeCpu, decodes, viewerCpu, generation };
}

function toTimes([firstRow, median, slowest, finalAdded, computed]: number[]): Times {
  return { firstRow, median, slowest, finalAdded, isComputed: computed === 1 };
}
