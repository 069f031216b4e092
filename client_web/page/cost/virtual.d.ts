declare module "virtual:transport" {
  /** Cut out of bench/results/transport.json when the page is built. */
  const figures: import("./figures.js").PackedFigures;
  export default figures;
}
