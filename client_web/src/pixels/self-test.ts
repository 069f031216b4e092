/**
 * What a decoder's file says that it paints, against what a runtime paints with it: that finds a
 * runtime that computes something else. Source: protocol.md, R-104 to R-106.
 */

/** The JSON of a file's self-test; see the table in protocol.md. */
export interface SelfTest {
  readonly rows: number;
  readonly cols: number;
  readonly ids: readonly number[];
  readonly thumbnail: readonly number[];
  readonly thumbnail_side: number;
  readonly tolerance: number;
}

/** By how much a picture is farther from the test's thumbnail than it may be; 0: it passes. */
export function excess(test: SelfTest, rgba: Uint8ClampedArray, width: number): number {
  const side = test.thumbnail_side;
  const height = rgba.length / 4 / width;
  const [across, down] = [width / side, height / side];
  let worst = 0;
  for (let block = 0; block < side * side; block++) {
    const [top, left] = [Math.floor(block / side) * down, (block % side) * across];
    for (let channel = 0; channel < 3; channel++) {
      let sum = 0;
      for (let y = top; y < top + down; y++) {
        for (let x = left; x < left + across; x++) sum += rgba[4 * (y * width + x) + channel];
      }
      const mean = Math.floor(sum / (across * down) + 0.5);
      worst = Math.max(worst, Math.abs(mean - test.thumbnail[3 * block + channel]));
    }
  }
  return Math.max(0, worst - test.tolerance);
}

const METADATA = (14 << 3) | 2; // `metadata_props` of a ModelProto

/**
 * The metadata of an ONNX file: a protobuf message, of which one kind of field is read.
 * Throws RangeError for bytes that are none.
 */
export function onnxMetadata(file: Uint8Array): Map<string, string> {
  const text = new TextDecoder();
  const found = new Map<string, string>();
  for (const [tag, value] of fields(file)) {
    if (tag !== METADATA) continue;
    const [key = "", content = ""] = [...fields(value)].map(([, part]) => text.decode(part));
    found.set(key, content);
  }
  return found;
}

/** Tags and, of those with a length, contents. */
function* fields(bytes: Uint8Array): Generator<[number, Uint8Array]> {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      if (at >= bytes.length || factor > 2 ** 56) throw new RangeError("this is no ONNX file");
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const first = tag & 7;
    let length = 0;
    if (first === 0) varint();
    else if (first === 1) length = 8;
    else if (first === 2) length = varint();
    else if (first === 5) length = 4;
    else throw new RangeError("this is no ONNX file");
    if (at + length > bytes.length) throw new RangeError("the ONNX file is cut off");
    yield [tag, bytes.subarray(at, at + length)];
    at += length;
  }
}
