/** Where tokens win and lose, in words that agree with the figures. */

import { expect, test } from "vitest";
import { Answers } from "../../page/cost/arithmetic.js";
import { unpack } from "../../page/cost/figures.js";
import { measures } from "../../page/cost/measures.js";
import { scaleOf } from "../../page/cost/scale.js";
import { type Setup, settled, usual } from "../../page/cost/setup.js";
import { cautions, type Finding, outcomeOf, verdict } from "../../page/cost/verdict.js";
import { committedFigures } from "../../tools/transport-figures.js";
import { blurOf, combination, results } from "./results.js";

const figures = unpack(committedFigures());

function answers(changes: Partial<Setup> = {}): Answers {
  return new Answers(figures, settled(figures, { ...usual(figures), ...changes }));
}

function about(what: string, changes: Partial<Setup>): Finding {
  const found = verdict(answers(changes)).findings.filter((each) => each.what === what);
  expect(found.length).toBe(1);
  return found[0];
}

test("a first visit of few pictures is lost, and won when the download has paid", () => {
  const setup = { tokens: "tokens_preview", against: "jpeg_8" } as const;
  const paid = answers(setup).paidAfter("tokens_preview", "jpeg_8") as number;
  const before = about("bytes of the first visit", { ...setup, pictures: paid - 1 });
  const after = about("bytes of the first visit", { ...setup, pictures: paid });
  expect([before.outcome, after.outcome]).toEqual(["lose", "win"]);
  expect(before.text).toContain(`after ${paid} pictures`);
});

test("the full decoder on a slow core loses the final picture wherever the benchmark says so", () => {
  const reversals: Record<string, string | number | boolean>[] = results.derived.reversals;
  const blur = blurOf("final_added_ms");
  for (const each of reversals) {
    const [gallery, pace, link] = [each.gallery, each.pace, each.link].map(String);
    const { outcome } = about("time added to the final picture", {
      ...{ gallery, pace, link, tokens: "tokens_full", against: "jpeg_end" },
    });
    const [less, more] = [Number(each.tokens_full_ms), Number(each.jpeg_end_ms)].sort(
      (one, other) => one - other,
    );
    const isClear = more > less * (1 + blur / 100);
    expect(outcome).toBe(isClear ? (each.reversed ? "lose" : "win") : "even");
  }
  expect(reversals.some(({ reversed }) => reversed)).toBe(true);
});

test("against the best, the rival is whichever way of pictures does best", () => {
  const { text } = about("time to the first row", { link: "slow", against: "best" });
  const pictures = Object.keys(results.ways).filter(
    (way) => results.ways[way].protocol !== "tokens",
  );
  const times = pictures.map((way) => [
    combination("mini", "20ms", "slow", way).first_row_ms,
    results.ways[way].label,
  ]);
  const [, label] = times.sort(([one], [other]) => one - other)[0];
  expect(text).toContain(label);
});

test("what is computed is said to be", () => {
  for (const { gallery, pace, link, way, kind } of results.combinations) {
    if (results.ways[way].protocol === "tokens") continue;
    const { text } = about("time to the first row", { gallery, pace, link, against: way });
    expect(text.includes("(computed, not measured)")).toBe(kind === "computed");
  }
});

test("losses come first, and the headline counts them", () => {
  const { findings, headline } = verdict(answers());
  const lost = findings.filter(({ outcome }) => outcome === "lose").length;
  expect(lost).toBeGreaterThan(0);
  expect(findings.slice(0, lost).every(({ outcome }) => outcome === "lose")).toBe(true);
  expect(headline).toContain(`lose in ${lost} of ${findings.length} counts`);
});

test("nearer than the benchmark is to itself is too close to call", () => {
  const measure = { ...measures(answers())[0], blur: 20 };
  const both = (mine: number, theirs: number) => [
    outcomeOf(mine, theirs, { ...measure, wins: "less" }),
    outcomeOf(mine, theirs, { ...measure, wins: "more" }),
  ];
  expect(both(100, 119)).toEqual(["even", "even"]);
  expect(both(100, 121)).toEqual(["win", "lose"]);
  expect(both(121, 100)).toEqual(["lose", "win"]);
  expect(both(0, 0)).toEqual(["even", "even"]);
});

test("polled pictures have no likeness of their own, so nothing is said of it", () => {
  const { findings } = verdict(answers({ against: "poll" }));
  expect(findings.some(({ what }) => what.startsWith("likeness"))).toBe(false);
});

test("cautions say what the times leave out, and how luck is on a lossy link", () => {
  const told = (changes: Partial<Setup>) => cautions(answers(changes)).join(" ");
  expect(told({ gallery: "mini" })).toContain("leave out the server's decodes");
  expect(told({ gallery: "postcard" })).not.toContain("leave out");
  expect(told({ link: "lossy" })).toContain("luck");
  expect(told({ link: "wifi" })).not.toContain("luck");
  expect(told({ viewers: 100_000 })).toContain("100,000 need");
  expect(told({ viewers: 1 })).not.toContain("need");
});

test("lengths go by powers of ten, and nothing has none", () => {
  const scale = scaleOf([0, 686, 533_792], true);
  expect([scale.low, scale.high, scale.steps]).toEqual([100, 1_000_000, 4]);
  expect(scale.length(0)).toBe(0);
  expect(scale.length(10_000)).toBeCloseTo(0.5, 10);
  expect(scaleOf([100, 200], true).length(100)).toBeGreaterThan(0);
  expect(scaleOf([0, 0], true).length(0)).toBe(0);
  expect(scaleOf([30, 120], false).length(30)).toBe(0.25);
});

test("every worked example is of numbers", () => {
  for (const decoder of ["gpu", "cpu"] as const) {
    for (const measure of measures(answers({ decoder }))) {
      for (const way of Object.keys(results.ways)) {
        expect(measure.worked?.(way) ?? "").not.toMatch(/NaN|undefined|Infinity/);
      }
    }
  }
});
