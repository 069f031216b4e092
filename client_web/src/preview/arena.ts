/** Places in a WebAssembly memory, which can be given back. */

const PAGE = 65_536;
const ALIGNMENT = 64;

interface Place {
  readonly begin: number;
  readonly end: number;
}

export class Arena {
  private readonly taken: Place[] = []; // by address

  /** What the memory has by now, the module's own, is left alone. */
  constructor(private readonly memory: WebAssembly.Memory) {
    this.taken.push({ begin: 0, end: memory.buffer.byteLength });
  }

  /**
   * A place of zeros, such that the memory has at most `most` bytes, of which a page is behind
   * every place; undefined if there is none.
   */
  take(bytes: number, most = Number.POSITIVE_INFINITY): number | undefined {
    const size = Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    let after = 0; // the place that it comes behind
    while (after + 1 < this.taken.length) {
      if (this.taken[after + 1].begin - this.taken[after].end >= size) break;
      after++;
    }
    const begin = this.taken[after].end;
    const end = begin + size;
    const missing = end + PAGE - this.memory.buffer.byteLength;
    if (missing > 0) {
      if (end + PAGE > most) return undefined;
      try {
        this.memory.grow(Math.ceil(missing / PAGE));
      } catch {
        return undefined; // the machine has no more
      }
    }
    new Uint8Array(this.memory.buffer, begin, size).fill(0);
    this.taken.splice(after + 1, 0, { begin, end });
    return begin;
  }

  giveBack(begin: number): void {
    const index = this.taken.findIndex((place) => place.begin === begin);
    this.taken.splice(index, 1);
  }
}
