/**
 * The preview decoder's convolutions in WGSL. One invocation computes four output channels of four
 * pixels side by side.
 *
 * Activations are [height, width, channels / 4] vectors; what is beyond an edge counts as zeros.
 * Weights are as pack.ts lays them in blocks of 4, and after them stand the biases. `level`, and
 * the kind of layer, are those of weights.ts; `inputs` and `outputs` are vectors of a pixel, and
 * `blocks` is as many as `outputs`, or four times as many where a pixel becomes four.
 */
export const SHADER = /* wgsl */ `
override level: u32;
override inputs: u32;
override outputs: u32;
override blocks: u32;
override first: bool;
override second: bool;
override up: bool;
override out: bool;

@group(0) @binding(0) var<uniform> grid: vec2u; // cols, rows
@group(0) @binding(1) var<storage> weights: array<vec4f>;
@group(0) @binding(2) var<storage> source: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> result: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> bytes: array<u32>;

fn convolve(place: vec3u) -> array<vec4f, 4> {
  let size = vec2i(grid << vec2u(level));
  let reach = select(1, 0, up);
  let taps = select(36u, 4u, up) * inputs;
  var at = place.z * taps;
  let bias = weights[blocks * taps + place.z];
  var sums = array(bias, bias, bias, bias);
  for (var dy = -reach; dy <= reach; dy++) {
    let y = i32(place.y) + dy;
    for (var dx = -reach; dx <= reach; dx++) {
      for (var input = 0u; input < inputs; input++) {
        let matrix = mat4x4f(weights[at], weights[at + 1], weights[at + 2], weights[at + 3]);
        at += 4;
        for (var pixel = 0; pixel < 4; pixel++) {
          let x = i32(place.x) * 4 + dx + pixel;
          if (x < 0 || y < 0 || x >= size.x || y >= size.y) { continue; }
          let value = source[u32(y * size.x + x) * inputs + input];
          sums[pixel] += matrix * select(value, max(value, vec4f()), first || out);
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
  let corner = place.z / outputs;
  let scale = select(1u, 2u, up);
  for (var pixel = 0u; pixel < 4; pixel++) {
    let x = place.x * 4 + pixel;
    if (x >= size.x) { return; }
    let to = vec2u(x, place.y) * scale + vec2u(corner & 1, corner >> 1);
    let at = (to.y * size.x * scale + to.x) * outputs + place.z % outputs;
    var value = sums[pixel];
    if (second) { value += result[at]; }
    result[at] = select(value, max(value, vec4f()), first);
  }
}

@compute @workgroup_size(4, 4, 4) fn pixels(@builtin(global_invocation_id) place: vec3u) {
  let size = grid << vec2u(level);
  if (place.y >= size.y || place.z > 0) { return; }
  let sums = convolve(place);
  for (var pixel = 0u; pixel < 4; pixel++) {
    let x = place.x * 4 + pixel;
    if (x >= size.x) { return; }
    let value = vec4u(255 * saturate(sums[pixel])) << vec4u(0, 8, 16, 24);
    bytes[place.y * size.x + x] = value.x | value.y | value.z | value.w;
  }
}
`;
