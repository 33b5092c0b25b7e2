import { invalid } from "../checkpoint/problems.js";
import { CaracalError } from "../errors.js";
import { packageFile } from "../native/packageFile.js";
import * as ops from "../ops/index.js";
import type { PackedWeight } from "../tensor/packedWeight.js";
import { type Device, disposeAll, type Tensor } from "../tensor/tensor.js";
import { loadTensors } from "../tensorFiles.js";

/** New samples of a chunk. */
export const chunkSamples = 512;
/** Samples before a chunk that the network hears again. Without them, it hears no speech at all. */
export const contextSamples = 64;
/** The frames of a chunk, their samples, the samples from one to the next, and their frequencies. */
export const [frames, frameSamples, frameShift, bins] = [4, 256, 128, 129];
/** Units of the LSTM. */
export const units = 128;

/** Output channels and stride of each convolution; all have three taps and a padding of one frame at both ends. */
export const convolutions = [
  { outputs: 128, stride: 1 },
  { outputs: 64, stride: 2 },
  { outputs: 64, stride: 2 },
  { outputs: 128, stride: 1 },
];
export const taps = 3;

type Matrix = readonly [number, number];

/** What the network multiplies with. */
export interface SileroLayers {
  /** `[2·bins, frameSamples]`: the cosines of all frequencies, then the sines. */
  readonly basis: PackedWeight<"f32", Matrix>;
  /** The convolutions, each as one matrix from all frames before it to all frames after it. */
  readonly encoder: readonly {
    readonly weight: PackedWeight<"f32", Matrix>;
    readonly bias: Tensor<"f32", readonly [number]>;
  }[];
  readonly lstm: Pick<ops.LstmParameters, "bIh" | "bHh"> & Readonly<Record<"wIh" | "wHh", PackedWeight<"f32", Matrix>>>;
  readonly output: { readonly weight: Tensor<"f32", Matrix>; readonly bias: Tensor<"f32", readonly [1]> };
}

/** @throws {CaracalError} as `VoiceActivityDetector.open` */
export async function loadLayers(
  device: Device,
  path = shippedWeights(),
  signal: AbortSignal | undefined = undefined,
): Promise<SileroLayers> {
  const { tensors } = await loadTensors(path, { device, signal });
  try {
    const stored = new Map<string, Float32Array>();
    for (const [name, tensor] of Object.entries(tensors)) stored.set(name, await tensor.toFloat32Array());
    const values = (name: string, size: number) => {
      const found = stored.get(name);
      if (found?.length === size) return found;
      throw invalid(path, `it needs a tensor ${name} of ${size} values, as silero_vad_v6_16k.safetensors has`);
    };
    return device.outOfScope(() => makeLayers(device, values));
  } finally {
    disposeAll(tensors);
  }
}

function shippedWeights(): string {
  const file = "weights/silero-vad/silero_vad_v6_16k.safetensors";
  const path = packageFile(file);
  if (path !== undefined) return path;
  const advice = "in a bundle, name a copy of this file of the package in the option `weights`";
  throw new CaracalError("IO_ERROR", `there is no ${file} where the package is: ${advice}`, { path: file });
}

/** @param values gives a tensor of the file, of so many values */
export function makeLayers(device: Device, values: (name: string, size: number) => Float32Array): SileroLayers {
  const packed = (matrix: Float32Array, shape: Matrix) => {
    using plain = device.tensor(matrix, shape);
    return ops.packWeight(plain);
  };
  const vector = (name: string, size: number) => device.tensor(values(name, size), [size]);
  const square = (name: string) => packed(values(name, 4 * units * units), [4 * units, units]);
  let [rows, inputs] = [frames, bins];
  const encoder = convolutions.map(({ outputs, stride }, i) => {
    const weight = values(`encoder.${i}.weight`, outputs * inputs * taps);
    const conv = { rows, inputs, outputs, stride, rowsOut: Math.ceil(rows / stride) };
    const matrix = asMatrix(weight, conv);
    const bias = repeated(values(`encoder.${i}.bias`, outputs), conv.rowsOut);
    [rows, inputs] = [conv.rowsOut, outputs];
    return {
      weight: packed(matrix, [conv.rowsOut * outputs, conv.rows * conv.inputs]),
      bias: device.tensor(bias, [bias.length]),
    };
  });
  return {
    basis: packed(values("stft.basis", 2 * bins * frameSamples), [2 * bins, frameSamples]),
    encoder,
    lstm: {
      wIh: square("lstm.weight_ih"),
      wHh: square("lstm.weight_hh"),
      bIh: vector("lstm.bias_ih", 4 * units),
      bHh: vector("lstm.bias_hh", 4 * units),
    },
    output: {
      weight: device.tensor(values("output.weight", units), [1, units]),
      bias: device.tensor(values("output.bias", 1), [1]),
    },
  };
}

interface Convolution {
  readonly rows: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly stride: number;
  readonly rowsOut: number;
}

/**
 * A convolution `[outputs, inputs, taps]` over a few frames as a matrix `[rowsOut · outputs, rows · inputs]`. `linear`
 * computes it for all streams at once, in which the frames of one stream never meet those of another.
 */
function asMatrix(weight: Float32Array, { rows, inputs, outputs, stride, rowsOut }: Convolution): Float32Array {
  const matrix = new Float32Array(rowsOut * outputs * rows * inputs);
  for (let row = 0; row < rowsOut * outputs; row++) {
    const output = row % outputs;
    for (let tap = 0; tap < taps; tap++) {
      const from = Math.floor(row / outputs) * stride + tap - 1;
      if (from < 0 || from >= rows) continue; // the padding
      for (let input = 0; input < inputs; input++)
        matrix[(row * rows + from) * inputs + input] = weight[(output * inputs + input) * taps + tap]!;
    }
  }
  return matrix;
}

function repeated(values: Float32Array, times: number): Float32Array {
  const out = new Float32Array(values.length * times);
  for (let i = 0; i < times; i++) out.set(values, i * values.length);
  return out;
}
