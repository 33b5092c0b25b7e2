import {
  aString,
  checkedFloats,
  checkObject,
  checkOptions,
  checkPath,
  type OptionRule,
  optional,
  refuseValue,
} from "../options.js";
import { deviceRule } from "../tensor/check.js";
import type { Device } from "../tensor/tensor.js";
import { SileroVad, stateSize } from "./sileroVad.js";
import { chunkSamples, contextSamples } from "./sileroWeights.js";

/** Options of `VoiceActivityDetector.open`. */
export interface OpenVoiceActivityOptions {
  /** The device that computes. */
  readonly device: Device;
  /** The path of `silero_vad_v6_16k.safetensors`, if a bundler moved it. Default: the file of this package. */
  readonly weights?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}
const openOptions = { device: deviceRule, weights: optional(aString), signal: true } satisfies Record<
  keyof OpenVoiceActivityOptions,
  OptionRule | true
>;

/** The chunks that a `push` completed, and what became of them. */
interface Job {
  /** The context of the first chunk, then the chunks. */
  readonly samples: Float32Array;
  readonly probabilities: Float32Array;
  /** Chunks that were computed. */
  done: number;
  readonly resolve: (probabilities: Float32Array) => void;
  readonly reject: (error: unknown) => void;
}

/** What a stream remembers of the chunks that were computed, and its jobs in the order of their arrival. */
interface StreamState {
  readonly lstm: Float32Array;
  readonly jobs: Job[];
}

/** Streams of a step. A graph is kept for each number of streams, with 5 KB of memory for each of them. */
const maxStreams = 32;
/** Chunks that are computed before streams that have pushed meanwhile get their turn. */
const maxSteps = 8;

/**
 * Tells speech from silence and noise: Silero VAD, version 6 (MIT, the Silero Team), whose weights come with this package. It
 * hears mono sound at 16 kHz and gives a probability for each chunk of 512 samples (32 ms). Many streams share a detector:
 * what they push in the same turn of the event loop, or while a step runs, is computed in one step. The probabilities of a
 * stream depend on its samples only, to the bit.
 *
 * ```ts
 * const detector = await VoiceActivityDetector.open({ device });
 * const stream = detector.stream();
 * const turns = new TurnDetector();
 * for (const event of turns.push(await stream.push(samples))) console.log(event);
 * ```
 */
export class VoiceActivityDetector implements Disposable {
  /** Samples per second. */
  readonly sampleRate = 16000;
  /** Samples for each probability. */
  readonly samplesPerChunk = chunkSamples;
  readonly #network: SileroVad;
  /** The streams that have jobs. Those whose turn it is come first. */
  readonly #waiting = new Set<StreamState>();
  #running = false;

  private constructor(network: SileroVad) {
    this.#network = network;
  }

  /**
   * Loads the network, 2 MB.
   * @throws {CaracalError} `IO_ERROR` or `CHECKPOINT_INVALID` when the file of its weights is missing or another one,
   *   `INVALID_ARGUMENT` when an option is unknown, `DISPOSED`, `OUT_OF_MEMORY`, `ABORTED`
   */
  static async open(options: OpenVoiceActivityOptions): Promise<VoiceActivityDetector> {
    checkObject("VoiceActivityDetector.open", "options", options);
    checkOptions("VoiceActivityDetector.open", options, openOptions);
    const { device, weights, signal } = options;
    if (weights !== undefined) checkPath("VoiceActivityDetector.open", "weights", weights);
    return new VoiceActivityDetector(await SileroVad.load(device, weights, signal));
  }

  /** The device that computes. */
  get device(): Device {
    return this.#network.device;
  }

  /** Begins a stream of sound. It needs no memory of the device, and nothing has to be freed. */
  stream(): VoiceActivityStream {
    return new VoiceActivityStream((stream, samples) => this.#compute(stream, samples));
  }

  /** Frees the network. Chunks that are not computed yet fail with `DISPOSED`. */
  dispose(): void {
    this.#network.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #compute(stream: StreamState, samples: Float32Array): Promise<Float32Array> {
    const probabilities = new Float32Array((samples.length - contextSamples) / chunkSamples);
    return new Promise((resolve, reject) => {
      stream.jobs.push({ samples, probabilities, done: 0, resolve, reject });
      this.#waiting.add(stream);
      if (!this.#running) this.#run();
    });
  }

  /** Takes steps until no chunk is left. It never rejects. */
  async #run(): Promise<void> {
    this.#running = true;
    await undefined; // other streams may push in this turn, too
    while (this.#waiting.size > 0) await this.#step([...this.#waiting].slice(0, maxStreams));
    this.#running = false;
  }

  /** Computes the next chunks of each of these streams, as many as all of them have. */
  async #step(streams: readonly StreamState[]): Promise<void> {
    const jobs = streams.map((stream) => stream.jobs[0]!);
    const steps = Math.min(maxSteps, ...jobs.map(({ probabilities, done }) => probabilities.length - done));
    try {
      const chunks = jobs.map(({ samples, done }, i) => {
        return { state: streams[i]!.lstm, samples: samples.subarray(done * chunkSamples) };
      });
      const probabilities = await this.#network.run(chunks, steps);
      jobs.forEach((job, i) => {
        for (const found of probabilities) job.probabilities[job.done++] = found[i]!;
        if (job.done < job.probabilities.length) return;
        streams[i]!.jobs.shift();
        job.resolve(job.probabilities);
      });
    } catch (error) {
      jobs.forEach((job, i) => {
        streams[i]!.jobs.shift();
        job.reject(error);
      });
    }
    for (const stream of streams) {
      this.#waiting.delete(stream);
      if (stream.jobs.length > 0) this.#waiting.add(stream); // behind the others
    }
  }
}

type Compute = (stream: StreamState, samples: Float32Array) => Promise<Float32Array>;

/** Sound that arrives in pieces. However it is split, the joined probabilities equal those of the whole. */
export class VoiceActivityStream {
  readonly #compute: Compute;
  readonly #state: StreamState = { lstm: new Float32Array(stateSize), jobs: [] };
  /** The context of the next chunk, then its samples that have arrived. */
  #rest: Float32Array = new Float32Array(contextSamples);

  /** @internal Use `VoiceActivityDetector.stream`. */
  constructor(compute: Compute) {
    this.#compute = compute;
  }

  /**
   * @param samples any number of samples at 16 kHz, in [−1, 1]. They may be modified once this returns
   * @returns the probability of speech in each chunk of 512 samples that is complete now, none or more. Calls need not wait
   *   for one another: they are answered in order
   * @throws {CaracalError} `INVALID_ARGUMENT` for what is no Float32Array, or samples that are not numbers within ±1000, which
   *   are then not heard. `DISPOSED` when the detector was disposed, or another error of its device: the chunks of this call
   *   are then left out
   */
  async push(samples: Float32Array): Promise<Float32Array> {
    const values = checkedFloats("VoiceActivityStream.push", "samples", samples);
    // One sample that is no number would make the state of the stream NaN, and all that follows.
    const wrong = values.find((value) => !(Math.abs(value) <= 1000));
    if (wrong !== undefined) refuseValue("VoiceActivityStream.push", "samples", "of values in [-1, 1]", wrong);
    const joined = new Float32Array(this.#rest.length + values.length);
    joined.set(this.#rest);
    joined.set(values, this.#rest.length);
    const end = Math.floor((joined.length - contextSamples) / chunkSamples) * chunkSamples;
    this.#rest = joined.slice(end);
    if (end === 0) return new Float32Array(0);
    return this.#compute(this.#state, joined.subarray(0, end + contextSamples));
  }
}
