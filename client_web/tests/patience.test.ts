import { expect, test } from "vitest";
import { Patience } from "../src/patience.js";

let now = 0;
const patience = (milliseconds: number, random = 1) =>
  new Patience(
    milliseconds,
    () => now,
    () => random,
  );

test("waits have a bound that doubles, up to 5 seconds (R-74)", () => {
  now = 0;
  const long = patience(1e9);
  const waits = Array.from({ length: 8 }, () => long.wait(0));
  expect(waits).toEqual([200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]);
  expect(patience(1e9, 0.25).wait(0)).toBe(50);
});

test("something new renews it, and a link that breaks at once does not (R-99)", () => {
  now = 0;
  const short = patience(1_000);
  expect(short.wait(0)).toBe(200);
  now = 900;
  expect(short.wait(0)).toBe(100);
  expect(short.wait(1)).toBe(200);
  now = 1_900;
  expect(short.wait(1)).toBeUndefined();
  now = 2_901; // after a link that held for as long
  expect(short.wait(1)).toBe(200);
});

test("without patience there is no second try", () => {
  now = 0;
  expect(patience(0).wait(0)).toBeUndefined();
});
