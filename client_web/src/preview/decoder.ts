/**
 * The decoder of a model's file of kind `preview_weights`, run in a worker: on WebGPU where that
 * passes the file's self-test, else in WebAssembly. The page need not be isolated.
 */

import type { Painted } from "./engine.js";
import type { Asked, Backend, FromWorker, ToWorker } from "./worker.js";

export type { Painted } from "./engine.js";

export interface PreviewOptions {
  /** "auto" takes what works; the others reject where theirs does not. */
  readonly backend?: Backend;
  /** Whose file it is; one of another size is refused. */
  readonly model?: { readonly codebookSize: number; readonly pixelsPerToken: number };
  readonly signal?: AbortSignal;
}

export interface PaintOptions {
  /**
   * Compute all of the picture, as for one that is finished; nothing of it is kept then. Otherwise
   * what new rows change by too little to be seen is left as it was.
   */
  readonly exact?: boolean;
}

/** Paints pictures, one after the other. */
export interface PreviewDecoder {
  /** "webgpu", "wasm relaxed simd" or "wasm simd"; another one after a GPU was lost. */
  readonly backend: string;
  /**
   * Paint the first `rowsHeld` rows of ids [rows, cols]. `picture` is any number that names it:
   * what did not change since it was last painted is not computed again, and the pixel rows that
   * changed come back. Rejects with an Error for ids beyond the codebook, and once it is closed.
   */
  paint(
    picture: number,
    ids: Uint32Array,
    rowsHeld: number,
    cols: number,
    options?: PaintOptions,
  ): Promise<Painted>;
  /** Give up what is kept of a picture. */
  forget(picture: number): void;
  close(): void;
}

/**
 * Open a file. Rejects with an Error that says why where it is none, or where nothing here computes
 * it right; with the signal's reason if that comes first.
 */
export async function openPreviewDecoder(
  file: Uint8Array,
  { backend = "auto", model, signal }: PreviewOptions = {},
): Promise<PreviewDecoder> {
  signal?.throwIfAborted();
  const decoder = new WorkerDecoder(openWorker());
  const stop = () => decoder.close(signal?.reason);
  signal?.addEventListener("abort", stop);
  try {
    const { codebookSize = 0, pixelsPerToken = 0 } = model ?? {};
    await decoder.ask({ type: "open", file, backend, codebookSize, pixelsPerToken });
    return decoder;
  } catch (error) {
    decoder.close();
    throw error;
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

type Waiting = [(answer: FromWorker) => void, (why: Error) => void];

class WorkerDecoder implements PreviewDecoder {
  backend = "";
  private readonly waiting = new Map<number, Waiting>();
  private count = 0;
  private failure: Error | undefined;

  constructor(private readonly worker: Worker) {
    worker.onerror = ({ message }) => {
      this.close(new Error(message || "the preview's worker did not start"));
    };
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      const [resolve, reject] = this.waiting.get(data.number) ?? [];
      this.waiting.delete(data.number);
      if (data.backend) this.backend = data.backend;
      if (data.failure === undefined) resolve?.(data);
      else reject?.(new Error(data.failure));
    };
  }

  async paint(
    picture: number,
    ids: Uint32Array,
    rowsHeld: number,
    cols: number,
    { exact = false }: PaintOptions = {},
  ): Promise<Painted> {
    const held = ids.slice(0, rowsHeld * cols);
    if (!(held.length > 0) || held.length !== rowsHeld * cols || ids.length % cols !== 0) {
      throw new RangeError(`${rowsHeld} rows of ${cols} cannot be painted of ${ids.length} ids`);
    }
    const grid = { ids: held, cols, rows: ids.length / cols };
    const { painted } = await this.ask({ type: "paint", picture, grid, isExact: exact });
    return painted as Painted;
  }

  forget(picture: number): void {
    this.worker.postMessage({ type: "forget", picture } satisfies ToWorker);
  }

  close(why = new Error("the preview's decoder was closed")): void {
    this.failure ??= why;
    this.worker.terminate();
    for (const [, reject] of this.waiting.values()) reject(this.failure);
    this.waiting.clear();
  }

  ask(request: Asked): Promise<FromWorker> {
    if (this.failure) return Promise.reject(this.failure);
    const number = this.count++;
    this.worker.postMessage({ ...request, number } satisfies ToWorker);
    return new Promise((resolve, reject) => this.waiting.set(number, [resolve, reject]));
  }
}

function openWorker(): Worker {
  try {
    return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  } catch {
    // A worker's script is of the page's own origin; what it imports need not be. The address
    // stands in a variable so that bundlers, whose worker is of that origin, add no second one.
    const here = import.meta.url;
    const script = `import ${JSON.stringify(new URL("./worker.js", here).href)}`;
    const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    return new Worker(url, { type: "module" });
  }
}
