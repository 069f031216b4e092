/** What a page takes of the package, minified and gzipped. */

const esm = (config) => ({ ...config, format: "esm" }); // so that import.meta works
const shared = { ignore: ["onnxruntime-web"], gzip: true, modifyEsbuildConfig: esm };

export default [
  { ...shared, name: "the package", path: "dist/element.js", import: "*", limit: "20 kB" },
  {
    ...shared,
    name: "the preview's worker, with its kernels",
    path: "dist/preview/worker.js",
    limit: "8 kB",
  },
  {
    ...shared,
    name: "the full decoder's worker",
    path: "dist/pixels/onnx-worker.js",
    limit: "2 kB",
  },
];
