import { CaracalError } from "../errors.js";
import * as ops from "../ops/index.js";
import { Graph } from "../tensor/graph.js";
import { type Device, disposeAll, type Tensor } from "../tensor/tensor.js";
import {
  bins,
  chunkSamples,
  contextSamples,
  frameSamples,
  frameShift,
  frames,
  loadLayers,
  type SileroLayers,
  units,
} from "./sileroWeights.js";

// Silero VAD version 6 at 16 kHz: the magnitudes of a short-time Fourier transform, four convolutions over time, an LSTM
// and a sigmoid. A chunk of 512 samples is heard with the 64 samples before it and, mirrored, 64 after it: four frames of
// 256 samples, 128 apart.

/** Floats of a stream's state: h and c of the LSTM. */
export const stateSize = 2 * units;
/** Floats of a stream in a step's memory: its frames, its state and its probability. */
export const stepFloats = frames * frameSamples + stateSize + 1;

/** Chunks of a stream. */
export interface Chunks {
  /** The context of the first one, then the new samples of all. */
  readonly samples: Float32Array;
  /** Changed by the steps. */
  readonly state: Float32Array;
}

/** A step of n streams, captured once. */
interface Step {
  readonly graph: Graph;
  /** All frames, all h, all c, all probabilities. */
  readonly memory: Tensor<"f32", readonly [number]>;
  /** Parts of it: all but the probabilities, the frames alone, and what changes, from h on. */
  readonly inputs: Tensor<"f32", readonly [number]>;
  readonly frames: Tensor<"f32", readonly [number]>;
  readonly results: Tensor<"f32", readonly [number]>;
}

/** The network. Its steps follow one another; each takes a chunk of every stream that has one. */
export class SileroVad {
  readonly device: Device;
  readonly #layers: SileroLayers;
  readonly #steps = new Map<number, Step>();
  #disposed = false;

  private constructor(device: Device, layers: SileroLayers) {
    this.device = device;
    this.#layers = layers;
  }

  /** @throws {CaracalError} as `VoiceActivityDetector.open` */
  static async load(device: Device, path?: string, signal?: AbortSignal): Promise<SileroVad> {
    return new SileroVad(device, await loadLayers(device, path, signal));
  }

  /**
   * Computes the next chunks of each stream, as many of each, one step after another: bits depend on the stream alone.
   * @param steps the number of chunks
   * @returns the probabilities of the streams for each chunk
   */
  async run(streams: readonly Chunks[], steps: number): Promise<Float32Array[]> {
    if (this.#disposed) throw new CaracalError("DISPOSED", "the VoiceActivityDetector was disposed");
    const count = streams.length;
    const step = this.#stepOf(count);
    const [h, c] = [count * frames * frameSamples, count * (frames * frameSamples + units)];
    const found: Promise<Float32Array>[] = [];
    for (let chunk = 0; chunk < steps; chunk++) {
      // After the first step, the states of the step before are there already.
      const values = new Float32Array(chunk === 0 ? count * (frames * frameSamples + stateSize) : h);
      streams.forEach(({ samples, state }, i) => {
        frame(samples.subarray(chunk * chunkSamples), values.subarray(i * frames * frameSamples));
        if (chunk > 0) return;
        values.set(state.subarray(0, units), h + i * units);
        values.set(state.subarray(units), c + i * units);
      });
      (chunk === 0 ? step.inputs : step.frames).write(values);
      step.graph.replay();
      found.push(step.results.toFloat32Array());
    }
    const results = await Promise.all(found);
    streams.forEach(({ state }, i) => {
      const last = results.at(-1)!;
      state.set(last.subarray(i * units, (i + 1) * units));
      state.set(last.subarray((count + i) * units, (count + i + 1) * units), units);
    });
    return results.map((result) => result.subarray(count * stateSize));
  }

  #stepOf(count: number): Step {
    const known = this.#steps.get(count);
    if (known) return known;
    const memory = this.device.outOfScope(() => this.device.zeros([count * stepFloats]));
    const graph = Graph.capture(this.device, () => queueStep(this.#layers, memory, count));
    const step = this.device.outOfScope(() => ({
      ...{ graph, memory },
      inputs: memory.slice(0, count * (frames * frameSamples + stateSize)),
      frames: memory.slice(0, count * frames * frameSamples),
      results: memory.slice(count * frames * frameSamples),
    }));
    this.#steps.set(count, step);
    return step;
  }

  dispose(): void {
    this.#disposed = true;
    for (const { graph, ...memory } of this.#steps.values()) {
      graph.dispose();
      disposeAll(memory);
    }
    disposeAll(this.#layers);
    this.#steps.clear();
  }
}

/** The four overlapping frames of a chunk, mirrored about its last sample (PyTorch's reflect padding). */
function frame(samples: Float32Array, out: Float32Array): void {
  const [heard, last] = [contextSamples + chunkSamples, frames - 1];
  for (let i = 0; i < frames; i++)
    out.set(samples.subarray(i * frameShift, i * frameShift + frameSamples), i * frameSamples);
  const mirrored = last * frameShift + frameSamples - heard;
  for (let i = 0; i < mirrored; i++) out[frames * frameSamples - mirrored + i] = samples[heard - 2 - i]!;
}

/** Queues a step of `count` streams on its memory, of `stepFloats` for each of them. */
export function queueStep({ basis, encoder, lstm, output }: SileroLayers, memory: Step["memory"], count: number): void {
  const [hAt, cAt] = [count * frames * frameSamples, count * (frames * frameSamples + units)];
  const spectra = ops.linear(memory.slice(0, hAt).reshape([count * frames, frameSamples]), basis);
  let x: Tensor<"f32", readonly [number, number]> = ops.magnitude(spectra).reshape([count, frames * bins]);
  for (const { weight, bias } of encoder) x = ops.linear(x, weight, { bias, activation: "relu" });
  const statesAt = (at: number) =>
    Array.from({ length: count }, (_, i) => memory.slice(at + i * units, at + (i + 1) * units));
  ops.lstm(x, { ...lstm, h: statesAt(hAt), c: statesAt(cAt) });
  const hidden = ops.activation(memory.slice(hAt, cAt).reshape([count, units]), "relu");
  const probabilities = ops.linear(hidden, output.weight, { bias: output.bias, activation: "sigmoid" });
  ops.copyRows(memory, probabilities.reshape([count]), count * (stepFloats - 1));
}
