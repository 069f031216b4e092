/** Set-ups in the address: shared, read again, and never trusted. */

import { expect, test } from "vitest";
import { unpack } from "../../page/cost/figures.js";
import { bounded, choices, fromAddress, settled, toAddress, usual } from "../../page/cost/setup.js";
import { committedFigures } from "../../tools/transport-figures.js";
import { results } from "./results.js";

const figures = unpack(committedFigures());

test("what is usual can be, with the benchmark's own GPU and cores", () => {
  const setup = usual(figures);
  const { price_an_hour, tflops } = results.derived.cost;
  expect([setup.gpu, setup.teraflops, setup.cores]).toEqual([price_an_hour, tflops, results.cores]);
  for (const [name, all] of Object.entries(choices(figures, fromAddress(figures, "")))) {
    expect(all).toContain(fromAddress(figures, "")[name as keyof typeof setup]);
  }
});

test("a set-up comes back from its address as it was", () => {
  const setup = settled(figures, {
    ...usual(figures),
    ...{ pictures: 7, per: "month", gallery: "postcard", pace: "recorded", link: "lossy" },
    ...{ viewers: 9, viewer: "app", tokens: "tokens_full", against: "jpeg_8", decoder: "cpu" },
    ...{ gpu: 1.25, core: 0.5, traffic: 0, teraflops: 3.5, cores: 64 },
  });
  expect(fromAddress(figures, `?${toAddress(setup)}`)).toEqual(setup);
  expect(setup).not.toEqual(fromAddress(figures, ""));
});

test.each([
  "?gallery=constructor&pace=__proto__&link=toString&tokens=jpeg_8&against=tokens_full",
  "?pictures=0&viewers=-1&gpu=NaN&core=&traffic=Infinity&teraflops=0&cores=1.5",
  "?per=%3Cscript%3E&decoder=none&viewer=&full=palette%20uint8&nonsense=1&pictures=1e9",
])("what cannot be is as usual: %s", (query) => {
  expect(fromAddress(figures, query)).toEqual(fromAddress(figures, ""));
});

test("what depends on pictures and viewer gives way to what is there", () => {
  const postcard = fromAddress(figures, "?gallery=postcard&pace=200ms&full=full+int8");
  expect([postcard.pace, postcard.full]).toEqual(["recorded", "full fp32"]);
  const app = settled(figures, { ...usual(figures), viewer: "app" });
  expect(app.preview).toBe("preview int8");
  const fp16 = settled(figures, { ...app, preview: "preview fp16" });
  expect(fp16.preview).toBe("preview fp16");
  expect(settled(figures, { ...fp16, viewer: "browser" }).preview).toBe("preview_weights int8");
});

test("numbers have bounds, and some are whole", () => {
  expect(bounded("pictures", "12")).toBe(12);
  expect(bounded("pictures", "1.5")).toBeUndefined();
  expect(bounded("gpu", "1.5")).toBe(1.5);
  expect(bounded("gpu", " ")).toBeUndefined();
  expect(bounded("traffic", "-0.1")).toBeUndefined();
});
