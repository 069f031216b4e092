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
  const blocks = Math.ceil((message.length + 9) / 64);
  const tail = new Uint8Array(128); // of the last block or two
  const whole = 64 * Math.max(0, blocks - 2);
  tail.set(message.subarray(whole));
  tail[message.length - whole] = 0x80;
  const end = 64 * blocks - whole;
  new DataView(tail.buffer).setBigUint64(end - 8, 8n * BigInt(message.length));
  const state = INITIAL.slice();
  const words = new Uint32Array(ROUNDS);
  for (let at = 0; at < whole; at += 64) compress(state, words, message, at);
  for (let at = 0; at < end; at += 64) compress(state, words, tail, at);
  const digest = new DataView(new ArrayBuffer(32));
  for (let index = 0; index < 8; index++) digest.setUint32(4 * index, state[index]);
  return new Uint8Array(digest.buffer);
}

const turn = (value: number, bits: number) => (value >>> bits) | (value << (32 - bits));

function compress(state: Uint32Array, words: Uint32Array, block: Uint8Array, first: number): void {
  const view = new DataView(block.buffer, block.byteOffset + first, 64);
  for (let index = 0; index < 16; index++) words[index] = view.getUint32(4 * index);
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
