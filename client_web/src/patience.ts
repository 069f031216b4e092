/** How long a lost link is taken up again, and with which waits (protocol.md, R-74 and R-99). */

const [FIRST_BOUND, LONGEST_BOUND] = [200, 5_000]; // milliseconds

export class Patience {
  #bound = FIRST_BOUND;
  #progress = -1;
  #until = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly milliseconds: number,
    private readonly clock: () => number = () => performance.now(),
    private readonly random: () => number = Math.random,
  ) {}

  /**
   * Milliseconds to wait before the next attempt; undefined once it is exhausted.
   *
   * It is renewed by what arrives, `progress`, alone, or after a link that held for as long: one
   * that breaks again at once does not renew it.
   */
  wait(progress: number): number | undefined {
    const now = this.clock();
    if (progress !== this.#progress || now > this.#until + this.milliseconds) {
      this.#progress = progress;
      this.#until = now + this.milliseconds;
      this.#bound = FIRST_BOUND;
    }
    if (now >= this.#until) return undefined;
    const wait = Math.min(this.random() * this.#bound, this.#until - now);
    this.#bound = Math.min(2 * this.#bound, LONGEST_BOUND);
    return wait;
  }
}
