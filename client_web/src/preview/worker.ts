/** The worker of `PreviewDecoder`: one engine, and pictures painted one after the other. */

import { excess } from "../pixels/self-test.js";
import type { Engine, Grid, Painted } from "./engine.js";
import { WasmEngine } from "./wasm-engine.js";
import { WebGpuEngine } from "./webgpu-engine.js";
import { type PreviewWeights, readPreviewWeights } from "./weights.js";

export type Backend = "auto" | "webgpu" | "wasm";

/** What is answered. */
export type Asked =
  | {
      type: "open";
      file: Uint8Array;
      backend: Backend;
      /** Of the model whose file it is; 0 where none is named. */
      codebookSize: number;
      pixelsPerToken: number;
    }
  | { type: "paint"; picture: number; grid: Grid; isExact: boolean };

export type ToWorker = (Asked & { number: number }) | { type: "forget"; picture: number };

export interface FromWorker {
  readonly number: number;
  readonly backend?: string;
  readonly painted?: Painted;
  /** Why there is nothing else. */
  readonly failure?: string;
}

type Answer = Omit<FromWorker, "number">;

let weights: PreviewWeights;
let wanted: Backend;
let engine: Engine;
let work = Promise.resolve();

self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  work = work.then(async () => {
    if (data.type === "forget") return engine.forget(data.picture);
    const answer: Answer = await handle(data).catch((error) => ({
      failure: error instanceof Error ? error.message : `${error}`,
    }));
    const transfer = answer.painted ? [answer.painted.rgba.buffer] : [];
    self.postMessage({ ...answer, number: data.number } satisfies FromWorker, { transfer });
  });
};

async function handle(asked: Asked): Promise<Answer> {
  if (asked.type === "open") {
    const { file, codebookSize, pixelsPerToken } = asked;
    weights = readPreviewWeights(file);
    const isOfSide = !pixelsPerToken || weights.pixelsPerToken === pixelsPerToken;
    if (!isOfSide || weights.codebookSize < codebookSize) {
      throw new Error("the file of preview weights is of another model");
    }
    wanted = asked.backend;
    engine = await open(wanted);
    return { backend: engine.backend };
  }
  const painted = await paint(asked.picture, asked.grid, asked.isExact);
  return { backend: engine.backend, painted };
}

/** The first engine that paints the file's self-test. */
async function open(backend: Backend): Promise<Engine> {
  if (backend === "auto") return open("webgpu").catch(() => open("wasm"));
  const opened = backend === "wasm" ? await WasmEngine.open(weights) : await openWebGpu();
  const { selfTest } = weights;
  const { rows, cols } = selfTest;
  const ids = Uint32Array.from(selfTest.ids);
  const { rgba, width } = await opened.paint(-1, { ids, rows, cols }, true);
  const beyond = excess(selfTest, rgba, width);
  if (beyond === 0) return opened;
  throw new Error(`the preview's self-test is painted ${beyond}/255 wrong by ${opened.backend}`);
}

async function openWebGpu(): Promise<Engine> {
  const adapter = await self.navigator.gpu?.requestAdapter();
  if (!adapter) throw new Error("this browser gives no WebGPU");
  if (wanted === "auto" && adapter.info.isFallbackAdapter) {
    throw new Error("WebGPU is done in software here, which is slower than WebAssembly");
  }
  return WebGpuEngine.open(weights, adapter);
}

async function paint(picture: number, grid: Grid, isExact: boolean): Promise<Painted> {
  const { codebookSize } = weights;
  const wrong = grid.ids.find((id) => id >= codebookSize);
  if (wrong !== undefined) throw new Error(`the preview has ${codebookSize} codes, not ${wrong}`);
  try {
    return await engine.paint(picture, grid, isExact);
  } catch (error) {
    if (wanted !== "auto" || engine instanceof WasmEngine) throw error;
    engine = await open("wasm"); // a GPU can be lost at any time
    return engine.paint(picture, grid, isExact);
  }
}
