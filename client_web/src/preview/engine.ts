/** What decodes with the preview's weights, wherever it runs. */

/** Pixels of whole rows of a picture. */
export interface Painted {
  /** The first row of pixels that `rgba` has; it has all from there to the last. */
  readonly firstRow: number;
  readonly rgba: Uint8ClampedArray<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
}

/** The rows there are of a picture that may have more to come. */
export interface Grid {
  /** [rows held, cols] */
  readonly ids: Uint32Array;
  readonly cols: number;
  /** Of the whole picture. */
  readonly rows: number;
}

export interface Engine {
  /** Where it runs, in words. */
  readonly backend: string;
  /**
   * The pixel rows that changed since the picture was last painted; with `exact` all of them,
   * nothing of before being relied on.
   */
  paint(picture: number, grid: Grid, exact: boolean): Painted | Promise<Painted>;
  /** Give up what is kept of a picture. */
  forget(picture: number): void;
}
