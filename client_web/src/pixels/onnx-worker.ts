/** The worker of `OnnxDecoder`: onnxruntime-web, and a decoder in it. */

import type { InferenceSession, Tensor } from "onnxruntime-web";
import { BACKENDS } from "./runtime.js";
import { excess, onnxMetadata, type SelfTest } from "./self-test.js";

export type ToDecoder =
  | { type: "open"; file: Uint8Array; runtime: string }
  | { type: "paint"; number: number; ids: Uint32Array; rowsHeld: number; cols: number };

export type FromDecoder =
  | { type: "ready"; backend: string }
  | { type: "failed"; number?: number; text: string }
  | {
      type: "painted";
      number: number;
      rgba: Uint8ClampedArray<ArrayBuffer>;
      width: number;
      height: number;
    };

type Runtime = typeof import("onnxruntime-web");
type Picture = Omit<Extract<FromDecoder, { type: "painted" }>, "type" | "number">;

const MOST_GUESSED_ROWS = 6;
const MOST_THREADS = 4; // where the page is isolated; else there is one

let runtime: Runtime;
let session: InferenceSession;
let work = Promise.resolve();

self.onmessage = ({ data }: MessageEvent<ToDecoder>) => {
  work = work.then(() => answer(data));
};

async function answer(message: ToDecoder): Promise<void> {
  try {
    if (message.type === "open") {
      tell({ type: "ready", backend: await open(message.file, message.runtime) });
    } else {
      const { number, ids, rowsHeld, cols } = message;
      const picture = await paint(ids, rowsHeld, cols);
      tell({ type: "painted", number, ...picture }, [picture.rgba.buffer]);
    }
  } catch (error) {
    const number = message.type === "paint" ? { number: message.number } : {};
    tell({ type: "failed", ...number, text: error instanceof Error ? error.message : `${error}` });
  }
}

/** Load the file by the first back end that paints its self-test; returns that one's name. */
async function open(file: Uint8Array, folder: string): Promise<string> {
  const test: SelfTest = JSON.parse(onnxMetadata(file).get("rowcast.self_test") ?? "null");
  if (test === null) throw new Error("the decoder's file has no self-test");
  let failure = "";
  for (const [backend, script] of Object.entries(BACKENDS)) {
    if (backend === "webgpu" && !(await self.navigator.gpu?.requestAdapter())) continue;
    try {
      runtime = await import(/* @vite-ignore */ new URL(script, folder).href);
      runtime.env.wasm.wasmPaths = folder;
      runtime.env.wasm.numThreads = self.crossOriginIsolated
        ? Math.min(MOST_THREADS, self.navigator.hardwareConcurrency)
        : 1;
      session = await runtime.InferenceSession.create(file, { executionProviders: [backend] });
      const { rows, cols, ids } = test;
      const { rgba, width } = await decode(Uint32Array.from(ids), rows, cols);
      const beyond = excess(test, rgba, width);
      if (beyond === 0) return backend;
      failure = `it paints its self-test ${beyond}/255 wrong`;
    } catch (error) {
      failure = error instanceof Error ? error.message : `${error}`;
    }
    session?.release();
  }
  throw new Error(`onnxruntime-web does not run the decoder: ${failure}`);
}

async function paint(ids: Uint32Array, rowsHeld: number, cols: number): Promise<Picture> {
  const rows = Math.min(ids.length / cols, rowsHeld + MOST_GUESSED_ROWS);
  for (let row = rowsHeld; row < rows; row++) {
    ids.copyWithin(row * cols, (rowsHeld - 1) * cols, rowsHeld * cols);
  }
  const picture = await decode(ids.subarray(0, rows * cols), rows, cols);
  const height = (picture.height * rowsHeld) / rows;
  return { ...picture, height, rgba: picture.rgba.slice(0, 4 * picture.width * height) };
}

/** ids [rows, cols] -> bytes [height, width, 4], each ⌊255 x⌋. */
async function decode(ids: Uint32Array, rows: number, cols: number): Promise<Picture> {
  const input = new runtime.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, rows, cols]);
  const { pixels } = (await session.run({ ids: input })) as { pixels: Tensor };
  const values = (await pixels.getData()) as Float32Array; // [1, 3, height, width]
  const [height, width] = pixels.dims.slice(2);
  const plane = height * width;
  const rgba = new Uint8ClampedArray(4 * plane).fill(255);
  for (let channel = 0; channel < 3; channel++) {
    for (let pixel = 0, at = channel * plane; pixel < plane; pixel++, at++) {
      rgba[4 * pixel + channel] = Math.floor(Math.fround(255 * values[at]));
    }
  }
  pixels.dispose();
  return { rgba, width, height };
}

function tell(message: FromDecoder, transfer: Transferable[] = []): void {
  self.postMessage(message, { transfer });
}
