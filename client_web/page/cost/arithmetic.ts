/** The arithmetic of the calculator: from figures and a set-up to answers. Nothing else. */

import type { Figures, Gallery, Name, Times, Work } from "./figures.js";
import type { Setup } from "./setup.js";

const THOUSAND = 1_000;

export interface Download {
  /** Bytes by what is fetched, in order. */
  readonly parts: readonly (readonly [what: string, bytes: number])[];
  readonly bytes: number;
  /** Over the link, alone on it, one file after the other. */
  readonly seconds: number;
}

export interface Bytes {
  readonly picture: number;
  /** Of all pictures, with what is downloaded for them and without. */
  readonly first: number;
  readonly again: number;
}

export interface Server {
  /** Seconds a picture, beyond drawing it. */
  readonly cpu: number;
  readonly gpu: number;
}

export interface Cost {
  /** Of a thousand pictures. */
  readonly computing: number;
  readonly traffic: number;
  readonly again: number;
  /** With the download, shared by the pictures of a first visit. */
  readonly first: number;
}

export interface Sustained {
  /** Viewers that one server keeps up with, each with pictures of its own, one after the other. */
  readonly viewers: number;
  /** Servers for the viewers of the set-up. */
  readonly servers: number;
}

export class Answers {
  readonly gallery: Gallery;

  constructor(
    readonly figures: Figures,
    readonly setup: Setup,
  ) {
    this.gallery = figures.galleries[setup.gallery];
  }

  isTokens(way: Name): boolean {
    return this.figures.ways[way].tier !== "";
  }

  work(way: Name): Work {
    return this.figures.work[this.setup.gallery][this.setup.pace][way];
  }

  times(way: Name): Times {
    const { gallery, pace, link } = this.setup;
    return this.figures.times[gallery][pace][link][way];
  }

  /** What a way needs before its first picture: files, and in a browser code. */
  download(way: Name): Download {
    const { setup, figures, gallery } = this;
    const { tier } = figures.ways[way];
    const names = tier === "" ? [] : ["palette uint8"];
    if (tier === "preview" || tier === "full") names.push(setup.preview);
    if (tier === "full") names.push(setup.full);
    const parts: [string, number][] = names.map((name) => [name, gallery.files[name]]);
    if (tier !== "" && setup.viewer === "browser") {
      parts.unshift(["the page's code", figures.code.page]);
      if (tier === "full") parts.push(["onnxruntime-web", figures.code.runtime]);
    }
    const seconds = sum(parts.map(([, bytes]) => this.downloadSeconds(bytes)));
    return { parts, bytes: sum(parts.map(([, bytes]) => bytes)), seconds };
  }

  /** A round trip, and the bytes at the rate at which the largest file comes (`first_visit`). */
  private downloadSeconds(bytes: number): number {
    const { figures, gallery, setup } = this;
    const told = figures.downloads[setup.gallery][setup.link];
    if (told === undefined) return 0;
    const { roundTrip } = figures.links[setup.link];
    const [largest, most] = Object.entries(gallery.files).sort((a, b) => b[1] - a[1])[0];
    return roundTrip + (bytes * (told[largest] - roundTrip)) / most;
  }

  bytes(way: Name): Bytes {
    const picture = this.work(way).bytes;
    const again = this.setup.pictures * picture;
    return { picture, again, first: this.download(way).bytes + again };
  }

  /** Seconds of the server's CPU and GPU for a picture: decoding is on the one or on the other. */
  server(way: Name): Server {
    const { serverCpu, decodeCpu, decodes } = this.work(way);
    if (this.setup.decoder === "cpu") return { cpu: serverCpu / THOUSAND, gpu: 0 };
    return {
      cpu: (serverCpu - decodeCpu) / THOUSAND,
      gpu: (decodes * this.gallery.gflop) / (this.setup.teraflops * THOUSAND),
    };
  }

  cost(way: Name): Cost {
    const { setup } = this;
    const { cpu, gpu } = this.server(way);
    const computing = (THOUSAND * (gpu * setup.gpu + cpu * setup.core)) / 3600;
    const price = (bytes: number) => (THOUSAND * bytes * setup.traffic) / 1e9;
    const traffic = price(this.work(way).bytes);
    const download = price(this.download(way).bytes / setup.pictures);
    return {
      computing,
      traffic,
      again: computing + traffic,
      first: computing + traffic + download,
    };
  }

  /** Pictures until the download of a way of tokens is less than what the other way sends more. */
  paidAfter(tokens: Name, other: Name): number | null {
    const saved = this.work(other).bytes - this.work(tokens).bytes;
    return saved > 0 ? Math.ceil(this.download(tokens).bytes / saved) : null;
  }

  /** Pictures that a server can do in a second, x the seconds in which each viewer's is drawn. */
  sustained(way: Name): Sustained {
    const { setup } = this;
    const { cpu, gpu } = this.server(way);
    const most = Math.min(setup.cores / cpu, gpu === 0 ? Number.POSITIVE_INFINITY : 1 / gpu);
    const viewers = (most * this.work(way).generation) / THOUSAND;
    return { viewers, servers: Math.ceil(setup.viewers / viewers) };
  }

  /** Milliseconds of a decode on the server that the times of pictures do not hold. */
  get decodeLeftOut(): number {
    if (this.gallery.decodesInRun) return 0;
    if (this.setup.decoder === "cpu") return this.gallery.decodeMilliseconds;
    return this.gallery.gflop / this.setup.teraflops;
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
