/** onnxruntime-web's own files: which, and where a server has them. */

/** Of package.json, as the servers of this version have it. */
export const RUNTIME_VERSION = "1.30.0";

/** Under the base of a server's files. */
export const RUNTIME_FOLDER = `runtime/onnxruntime-web-${RUNTIME_VERSION}/`;

/** Its script by back end, the first that works. */
export const BACKENDS = { webgpu: "ort.webgpu.min.mjs", wasm: "ort.wasm.min.mjs" } as const;

export const RUNTIME_FILES = [
  ...Object.values(BACKENDS),
  "ort-wasm-simd-threaded.mjs",
  "ort-wasm-simd-threaded.wasm",
  "ort-wasm-simd-threaded.asyncify.mjs",
  "ort-wasm-simd-threaded.asyncify.wasm",
] as const;
