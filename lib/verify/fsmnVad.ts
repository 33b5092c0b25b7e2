import type { Affine, Weights } from "../model/weights.js";
import * as ops from "../ops/index.js";
import type { Device, Tensor } from "../tensor/tensor.js";
import type { Golden } from "./golden.js";
import { join, Pieces } from "./values.js";

/** Runs a trained FSMN voice activity detector: its features, and its probabilities both at once and frame by frame. */
export async function verifyFsmnVad(golden: Golden): Promise<void> {
  const { device, weights } = golden;
  if (golden.hasInput("waveform")) {
    const frames = device.scope(() => vadFeatures(golden.input("waveform", "f32"), weights));
    golden.compare("features", frames, golden.f32, "input.features");
    frames.dispose();
  }
  const vad = await FsmnVad.load(weights);
  const features = golden.input("features", "f32");
  using whole = vad.probabilities(features);
  golden.compare("probabilities", whole, golden.f32);
  const streamed = "probabilities, frame by frame";
  const pieces = new Pieces();
  vad.stream(features, (rows) => pieces.add(streamed, rows));
  golden.compare(streamed, pieces.joined(streamed), golden.f32, "expected.probabilities");
}

/** Normalised log-mel frames from 20 Hz to the Nyquist frequency, computed after removing each frame's mean. */
function vadFeatures(wave: Tensor<"f32">, weights: Weights): Tensor<"f32"> {
  const frames = ops.fbank(wave, { removeDc: true, lowHz: 20, highHz: 0 });
  return ops.cmvn(frames, weights.plain("cmvn.mean"), weights.plain("cmvn.inv_std"));
}

interface Block {
  readonly fc1: Affine;
  readonly fc2: Affine;
  readonly memory: Tensor<"f32">;
  readonly orders: ops.FsmnOrders;
}

/** Computes residual + memory(z) in block i. */
type Memory = (i: number, z: Tensor<"f32">, residual: Tensor<"f32">) => Tensor<"f32">;

/**
 * The first block computes p = relu(fc2(relu(fc1 x))) and m = p + memory(p), every further block p = fc2(relu(fc1 m))
 * and m = m + p + memory(p). The output is sigmoid(out(relu(dnn m))).
 */
class FsmnVad {
  readonly #device: Device;
  readonly #blocks: readonly Block[];
  readonly #dnn: Affine;
  readonly #out: Affine;

  private constructor(device: Device, blocks: readonly Block[], dnn: Affine, out: Affine) {
    this.#device = device;
    this.#blocks = blocks;
    this.#dnn = dnn;
    this.#out = out;
  }

  static async load(weights: Weights): Promise<FsmnVad> {
    const blocks: Block[] = [];
    for (let i = 0; weights.has(`fsmn.${i}.lookback`); i++) {
      const part = i === 0 ? weights : weights.part(`block.${i}`);
      blocks.push({
        fc1: part.linear("fc1"),
        fc2: part.linear("fc2"),
        ...(await loadMemory(weights.part(`fsmn.${i}`))),
      });
    }
    if (blocks.length === 0) weights.shape("fsmn.0.lookback"); // throws the error of a missing tensor
    return new FsmnVad(weights.device, blocks, weights.linear("dnn"), weights.linear("out"));
  }

  /** Maps features `[T, C]` to probabilities `[T, 1]`. */
  probabilities(features: Tensor<"f32">): Tensor<"f32"> {
    return this.#run(features, (i, z, residual) => {
      const { memory, orders } = this.#blocks[i]!;
      return ops.fsmnMemory(z, memory, { ...orders, residual });
    });
  }

  /** The same frame by frame: `take` receives the probabilities as they become known. */
  stream(features: Tensor<"f32">, take: (rows: Tensor<"f32">) => void): void {
    const memories = this.#blocks.map(({ memory, orders }) => new ops.FsmnMemoryStream(memory, orders));
    const step = (rows: Tensor<"f32">, last: boolean) => {
      using out = this.#run(rows, (i, z, residual) => memories[i]!.push(z, residual, { last }));
      take(out);
    };
    for (let t = 0; t < features.shape[0]!; t++) {
      using frame = features.slice(t, t + 1) as Tensor<"f32">;
      step(frame, false);
    }
    using end = this.#device.zeros([0, features.shape[1]!]);
    step(end, true);
    for (const memory of memories) memory.dispose();
  }

  #run(features: Tensor<"f32">, memory: Memory): Tensor<"f32"> {
    return this.#device.scope(() => {
      const [first, ...rest] = this.#blocks;
      const p = linear(linear(features, first!.fc1, "relu"), first!.fc2, "relu");
      const hidden = rest.reduce(
        (m, { fc1, fc2 }, i) => {
          const z = linear(linear(m, fc1, "relu"), fc2, "none");
          return memory(i + 1, z, ops.add(m, z));
        },
        memory(0, p, p),
      );
      return linear(linear(hidden, this.#dnn, "relu"), this.#out, "sigmoid");
    });
  }
}

function linear(x: Tensor<"f32">, { weight, bias }: Affine, activation: ops.Activation): Tensor<"f32"> {
  return ops.linear(x, weight, { bias, activation });
}

/** Joins the taps of past and present, `lookback` [C, 1, k], and those of the future, if any, `lookahead` [C, 1, r]. */
async function loadMemory(w: Weights): Promise<Pick<Block, "memory" | "orders">> {
  const past = w.plain<"f32">("lookback");
  const [channels, , taps] = past.shape as readonly [number, number, number];
  if (!w.has("lookahead")) return { memory: past, orders: { leftOrder: taps - 1 } };
  const future = w.plain<"f32">("lookahead");
  const ahead = future.shape[2]!;
  const [a, b] = await Promise.all([past.read(), future.read()]);
  const joined = Array.from({ length: channels }, (_, c) => [
    a.subarray(c * taps, (c + 1) * taps),
    b.subarray(c * ahead, (c + 1) * ahead),
  ]);
  const memory = w.device.tensor(join(joined.flat()), [channels, taps + ahead]);
  return { memory, orders: { leftOrder: taps - 1, rightOrder: ahead } };
}
