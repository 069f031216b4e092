/** SHA-256 (FIPS 180-4), at once and everywhere: `crypto.subtle` is for secure pages alone. */

const ROUNDS = 64;

/** The first 32 bits of the fractional parts of roots of the first primes. */
const primes: number[] = [];
for (let number = 2; primes.length < ROUNDS; number++) {
  if (primes.every((prime) => number % prime !== 0)) primes.push(number);
}
const fraction = (root: number) => (root - Math.floor(root)) * 2 ** 32;
const CONSTANTS = Uint32Array.from(primes, (prime) => fraction(Math.cbrt(prime)));
const INITIAL = Uint32Array.from(primes.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));

/** The digest [32] of some bytes. */
export function sha256(message: Uint8Array): Uint8Array<ArrayBuffer> {
  const padded = new Uint8Array(64 * Math.ceil((message.length + 9) / 64));
  const view = new DataView(padded.buffer);
  padded.set(message);
  padded[message.length] = 0x80;
  view.setBigUint64(padded.length - 8, 8n * BigInt(message.length));
  const state = INITIAL.slice();
  const words = new Uint32Array(ROUNDS);
  for (let at = 0; at < padded.length; at += 64) compress(state, words, view, at);
  state.forEach((word, index) => {
    view.setUint32(4 * index, word);
  });
  return padded.slice(0, 32);
}

const turn = (value: number, bits: number) => (value >>> bits) | (value << (32 - bits));

function compress(state: Uint32Array, words: Uint32Array, view: DataView, first: number): void {
  for (let index = 0; index < 16; index++) words[index] = view.getUint32(first + 4 * index);
  for (let index = 16; index < ROUNDS; index++) {
    const [before, last] = [words[index - 15], words[index - 2]];
    words[index] =
      words[index - 16] +
      (turn(before, 7) ^ turn(before, 18) ^ (before >>> 3)) +
      words[index - 7] +
      (turn(last, 17) ^ turn(last, 19) ^ (last >>> 10));
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let index = 0; index < ROUNDS; index++) {
    const choice = (e & f) ^ (~e & g);
    const majority = (a & b) ^ (a & c) ^ (b & c);
    const one =
      h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + choice + CONSTANTS[index] + words[index];
    const two = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + majority;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((value, index) => {
    state[index] += value;
  });
}
