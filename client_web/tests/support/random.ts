/** Repeatable whole numbers from 0 on, below a bound (the minimal standard generator). */
export function randomNumbers(seed: number): (below: number) => number {
  let state = (seed * 7_919 + 1) % 2_147_483_647;
  return (below) => {
    state = (state * 48_271) % 2_147_483_647;
    return Math.floor((state / 2_147_483_647) * below);
  };
}
