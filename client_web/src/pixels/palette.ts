/**
 * The palette: what each code looks like on its own. It paints a row the moment it arrives.
 *
 * Source: protocol.md, R-84 and R-85.
 */

const MAX_BYTES = 1_048_576;
const BEGINNING = "\x93NUMPY\x01\x00";
const HEADER =
  /^\{'descr': '\|u1', 'fortran_order': False, 'shape': \((\d+), (\d+), (\d+), 3\), \} *\n$/;
const OPAQUE = 0xff000000;

export class Palette {
  private constructor(
    /** One entry a pixel, as an ImageData of little-endian machines has it: [code, side, side]. */
    private readonly colours: Uint32Array,
    /** Pixels of a code across and down. */
    readonly side: number,
  ) {}

  /**
   * Read the file. Throws RangeError for one that is none, or is of another model than one with
   * `codebookSize` codes of `pixelsPerToken` pixels a side.
   */
  static read(file: Uint8Array, codebookSize: number, pixelsPerToken: number): Palette {
    const latin1 = (first: number, end: number) =>
      String.fromCharCode(...file.subarray(first, end));
    if (file.length > MAX_BYTES || latin1(0, 8) !== BEGINNING) {
      throw new RangeError("the palette is not an .npy file of at most 1 MiB");
    }
    const begin = 10 + file[8] + 256 * file[9];
    const [codes, rows, cols] = (HEADER.exec(latin1(10, begin)) ?? []).slice(1).map(Number);
    const side = rows;
    if (rows !== cols || file.length !== begin + 3 * codes * side * side) {
      throw new RangeError("the palette's header is not one of a palette, or its size is another");
    }
    if (codes !== codebookSize || !(side > 0) || pixelsPerToken % side !== 0) {
      throw new RangeError(`the palette is of ${codes} codes of ${side} pixels, not of this model`);
    }
    const colours = new Uint32Array(codes * side * side);
    for (let pixel = 0, at = begin; pixel < colours.length; pixel++, at += 3) {
      colours[pixel] = OPAQUE | (file[at + 2] << 16) | (file[at + 1] << 8) | file[at];
    }
    return new Palette(colours, side);
  }

  /**
   * Paint one row of ids [cols] into `image` [height, cols * pixelsPerToken], from pixel row
   * `top` on.
   */
  paint(ids: Uint32Array, image: Uint32Array, top: number, pixelsPerToken: number): void {
    const { colours, side } = this;
    const width = ids.length * pixelsPerToken;
    const square = pixelsPerToken / side; // pixels of the picture for one of the palette's
    for (let line = 0; line < side; line++) {
      const first = (top + line * square) * width;
      let at = first;
      for (const id of ids) {
        const begin = (id * side + line) * side;
        for (let pixel = begin; pixel < begin + side; pixel++, at += square) {
          image.fill(colours[pixel], at, at + square);
        }
      }
      for (let copy = 1; copy < square; copy++) {
        image.copyWithin(first + copy * width, first, first + width);
      }
    }
  }
}
