/**
 * The preview decoder's convolutions in WGSL. One invocation computes four output channels of four
 * pixels side by side. Activations are [height, width, channels / 4] vectors, what is beyond an
 * edge counts as zeros. Weights are [block][ky][kx][input][4 outputs], as pack.ts lays them, and
 * the biases of all blocks after them.
 */
export const SHADER = /* wgsl */ `
override level: u32;      // the input has this many doublings of the grid
override inputs: u32;     // vectors of a pixel
override outputs: u32;    // vectors of a pixel of the output
override blocks: u32;     // as many, or four times as many where a pixel becomes four
override reach: i32;      // 1: a window of 3x3, 0: the pixel alone
override rectifiesInput: bool;
override rectifiesOutput: bool;
override isResidual: bool;

@group(0) @binding(0) var<uniform> grid: vec2u; // cols, rows
@group(0) @binding(1) var<storage> weights: array<vec4f>;
@group(0) @binding(2) var<storage> source: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> result: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> bytes: array<u32>;

const TILE = 4;

fn convolve(place: vec3u) -> array<vec4f, TILE> {
  let size = vec2i(grid << vec2u(level));
  let first = vec2i(i32(place.x) * TILE, i32(place.y));
  let window = u32(2 * reach + 1);
  let taps = window * window * inputs * 4;
  var at = place.z * taps;
  let bias = weights[blocks * taps + place.z];
  var sums = array<vec4f, TILE>(bias, bias, bias, bias);
  for (var dy = -reach; dy <= reach; dy++) {
    let y = first.y + dy;
    for (var dx = -reach; dx <= reach; dx++) {
      for (var input = 0u; input < inputs; input++) {
        let matrix = mat4x4f(weights[at], weights[at + 1], weights[at + 2], weights[at + 3]);
        at += 4;
        for (var pixel = 0; pixel < TILE; pixel++) {
          let x = first.x + dx + pixel;
          if (x < 0 || y < 0 || x >= size.x || y >= size.y) { continue; }
          var value = source[u32(y * size.x + x) * inputs + input];
          if (rectifiesInput) { value = max(value, vec4f()); }
          sums[pixel] += matrix * value;
        }
      }
    }
  }
  return sums;
}

@compute @workgroup_size(4, 4, 4) fn hidden(@builtin(global_invocation_id) place: vec3u) {
  let size = grid << vec2u(level);
  if (place.y >= size.y || place.z >= blocks) { return; }
  let sums = convolve(place);
  let corner = place.z / outputs; // of the four pixels
  let scale = select(1u, 2u, blocks > outputs);
  for (var pixel = 0u; pixel < TILE; pixel++) {
    let x = place.x * TILE + pixel;
    if (x >= size.x) { return; }
    let to = vec2u(x, place.y) * scale + vec2u(corner & 1, corner >> 1);
    let at = (to.y * size.x * scale + to.x) * outputs + place.z % outputs;
    var value = sums[pixel];
    if (isResidual) { value += result[at]; }
    if (rectifiesOutput) { value = max(value, vec4f()); }
    result[at] = value;
  }
}

@compute @workgroup_size(4, 4, 4) fn pixels(@builtin(global_invocation_id) place: vec3u) {
  let size = grid << vec2u(level);
  if (place.y >= size.y || place.z > 0) { return; }
  let sums = convolve(place);
  for (var pixel = 0u; pixel < TILE; pixel++) {
    let x = place.x * TILE + pixel;
    if (x >= size.x) { return; }
    let value = vec4u(255 * saturate(sums[pixel]));
    bytes[place.y * size.x + x] = value.x | (value.y << 8) | (value.z << 16) | (value.w << 24);
  }
}
`;
