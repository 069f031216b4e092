/**
 * The preview decoder on WebGPU. A picture is computed as a whole each time: nothing of it is kept.
 */

import type { Engine, Grid, Painted } from "./engine.js";
import { filled, pack } from "./pack.js";
import { SHADER } from "./shader.js";
import type { PreviewWeights } from "./weights.js";

const BLOCK = 4; // channels of a vector
const FLOAT = 4; // bytes
const [ACROSS, DOWN, BLOCKS] = [16, 4, 4]; // of a workgroup: pixels, pixels, blocks

/** A layer, ready to run. */
interface Step {
  readonly pipeline: GPUComputePipeline;
  readonly weights: GPUBuffer;
  readonly level: number;
  readonly blocks: number;
}

/** For grids that need no more bytes. */
interface Buffers {
  readonly bytes: number;
  /** What layers read and write, by turns. */
  readonly hidden: readonly [GPUBuffer, GPUBuffer];
  readonly bindings: readonly GPUBindGroup[];
  readonly grid: GPUBuffer;
  /** What the page reads. */
  readonly pixels: GPUBuffer;
}

export class WebGpuEngine implements Engine {
  readonly backend = "webgpu";
  private buffers: Buffers | undefined;

  private constructor(
    private readonly device: GPUDevice,
    private readonly weights: PreviewWeights,
    private readonly steps: readonly Step[],
  ) {}

  /** Rejects with an Error where the adapter does not take the shader or the weights. */
  static async open(weights: PreviewWeights, adapter: GPUAdapter): Promise<WebGpuEngine> {
    const device = await adapter.requestDevice();
    const module = device.createShaderModule({ code: SHADER });
    const steps = weights.layers.map(async (layer): Promise<Step> => {
      const { kind, level, inputs, outputs } = layer;
      const packed = pack(layer, BLOCK);
      const blocks = packed.bias.length / BLOCK;
      const pipeline = await device.createComputePipelineAsync({
        layout: "auto",
        compute: {
          module,
          entryPoint: kind === "out" ? "pixels" : "hidden",
          constants: {
            level,
            inputs: filled(inputs, BLOCK) / BLOCK,
            outputs: kind === "up" ? filled(outputs / 4, BLOCK) / BLOCK : blocks,
            blocks,
            first: Number(kind === "first"),
            second: Number(kind === "second"),
            up: Number(kind === "up"),
            out: Number(kind === "out"),
          },
        },
      });
      const { byteLength } = packed.weights;
      const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
      const buffer = device.createBuffer({ size: byteLength + packed.bias.byteLength, usage });
      device.queue.writeBuffer(buffer, 0, packed.weights);
      device.queue.writeBuffer(buffer, byteLength, packed.bias);
      return { pipeline, weights: buffer, level, blocks };
    });
    return new WebGpuEngine(device, weights, await Promise.all(steps));
  }

  async paint(_picture: number, { ids, cols }: Grid): Promise<Painted> {
    const { device, steps, weights } = this;
    const { hidden, bindings, grid, pixels } = this.prepare(ids.length);
    const rows = ids.length / cols;
    device.queue.writeBuffer(grid, 0, Uint32Array.of(cols, rows));
    device.queue.writeBuffer(hidden[0], 0, this.lookUp(ids));
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (const [index, { pipeline, level, blocks }] of steps.entries()) {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindings[index]);
      pass.dispatchWorkgroups(
        Math.ceil((cols << level) / ACROSS),
        Math.ceil((rows << level) / DOWN),
        Math.ceil(blocks / BLOCKS),
      );
    }
    pass.end();
    const [width, height] = [cols, rows].map((tokens) => tokens * weights.pixelsPerToken);
    const size = 4 * width * height;
    encoder.copyBufferToBuffer(hidden[steps.length % 2], 0, pixels, 0, size);
    device.queue.submit([encoder.finish()]);
    await pixels.mapAsync(GPUMapMode.READ, 0, size);
    const rgba = new Uint8ClampedArray(pixels.getMappedRange(0, size).slice(0));
    pixels.unmap();
    return { firstRow: 0, rgba, width, height };
  }

  forget(): void {}

  /** The table's entries of ids, filled up to whole vectors. */
  private lookUp(ids: Uint32Array): Float32Array<ArrayBuffer> {
    const { table, tableChannels } = this.weights;
    const channels = filled(tableChannels, BLOCK);
    const entries = new Float32Array(ids.length * channels);
    for (const [at, id] of ids.entries()) {
      const first = id * tableChannels;
      entries.set(table.subarray(first, first + tableChannels), at * channels);
    }
    return entries;
  }

  /** Buffers for so many ids. */
  private prepare(tokens: number): Buffers {
    const { device, steps, weights } = this;
    const sizes = weights.layers.map(
      ({ level, inputs }) => (tokens << (2 * level)) * filled(inputs, BLOCK) * FLOAT,
    );
    const bytes = Math.max(...sizes);
    if (this.buffers && this.buffers.bytes >= bytes) return this.buffers;
    if (bytes > device.limits.maxStorageBufferBindingSize) {
      throw new Error("WebGPU has no buffers for a picture of this size");
    }
    const { STORAGE, COPY_DST, COPY_SRC, UNIFORM, MAP_READ } = GPUBufferUsage;
    const make = (size: number, usage: number) => device.createBuffer({ size, usage });
    const plane = () => make(bytes, STORAGE | COPY_DST | COPY_SRC);
    const hidden = [plane(), plane()] as const;
    const grid = make(8, UNIFORM | COPY_DST);
    const bindings = steps.map(({ pipeline, weights: buffer }, index) =>
      device.createBindGroup({
        layout: pipeline.getBindGroupLayout(0),
        entries: [grid, buffer, hidden[index % 2], hidden[(index + 1) % 2]].map(
          (buffer, binding) => ({ binding, resource: { buffer } }),
        ),
      }),
    );
    const pixels = make(4 * tokens * weights.pixelsPerToken ** 2, MAP_READ | COPY_DST);
    this.buffers = { bytes, hidden, bindings, grid, pixels };
    return this.buffers;
  }
}
