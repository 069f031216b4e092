/**
 * A decoder that is an ONNX file, run by onnxruntime-web in a worker: on WebGPU where that passes
 * the file's self-test, else in WebAssembly.
 */

import type { FromDecoder, ToDecoder } from "./onnx-worker.js";

/** Pixels of whole rows of a picture. */
export interface Painted {
  /** The first row of pixels that `rgba` has. */
  readonly firstRow: number;
  readonly rgba: Uint8ClampedArray<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
}

export class OnnxDecoder {
  private readonly waiting = new Map<number, [(painted: Painted) => void, (why: Error) => void]>();
  private count = 0;

  private constructor(
    private readonly worker: Worker,
    /** "webgpu" or "wasm". */
    readonly backend: string,
  ) {
    worker.onmessage = ({ data }: MessageEvent<FromDecoder>) => {
      if (data.type === "ready") return;
      const [resolve, reject] = this.waiting.get(data.number ?? -1) ?? [];
      this.waiting.delete(data.number ?? -1);
      if (data.type === "painted") resolve?.({ ...data, firstRow: 0 });
      else reject?.(new Error(data.text));
    };
  }

  /**
   * Load a file. `runtime` is the folder of onnxruntime-web's own files. Rejects with an Error that
   * says why where neither back end takes it.
   */
  static open(file: Uint8Array, runtime: URL): Promise<OnnxDecoder> {
    const worker = openWorker();
    return new Promise((resolve, reject) => {
      const fail = (text: string) => {
        worker.terminate();
        reject(new Error(text));
      };
      worker.onerror = (event) => fail(event.message || "the decoder's worker did not start");
      worker.onmessage = ({ data }: MessageEvent<FromDecoder>) => {
        if (data.type === "ready") resolve(new OnnxDecoder(worker, data.backend));
        else if (data.type === "failed") fail(data.text);
      };
      const message: ToDecoder = { type: "open", file, runtime: runtime.href };
      worker.postMessage(message);
    });
  }

  /**
   * Decode the first `rowsHeld` rows of ids [rows, cols]. Below those of a picture that is not
   * whole the last one is repeated, at most 6 times, as protocol.md, section 10, advises.
   */
  paint(ids: Uint32Array, rowsHeld: number, cols: number): Promise<Painted> {
    const number = this.count++;
    const message: ToDecoder = { type: "paint", number, ids: ids.slice(), rowsHeld, cols };
    this.worker.postMessage(message);
    return new Promise((resolve, reject) => this.waiting.set(number, [resolve, reject]));
  }

  close(): void {
    this.worker.terminate();
    for (const [, reject] of this.waiting.values()) reject(new Error("the decoder was closed"));
    this.waiting.clear();
  }
}

function openWorker(): Worker {
  try {
    return new Worker(new URL("./onnx-worker.js", import.meta.url), { type: "module" });
  } catch {
    // A worker's script is of the page's own origin; what it imports need not be. The address
    // stands in a variable so that bundlers, whose worker is of that origin, add no second one.
    const here = import.meta.url;
    const script = `import ${JSON.stringify(new URL("./onnx-worker.js", here).href)}`;
    const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    return new Worker(url, { type: "module" });
  }
}
