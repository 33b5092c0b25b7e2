import type { Conv1dStream } from "../../ops/index.js";
import { checkedList } from "../../options.js";
import { type Device, disposeAll, type Tensor } from "../../tensor/tensor.js";
import { maxBooks } from "./heads.js";
import { maxFrames, type SpeechFrame } from "./state.js";

export interface LstmState {
  readonly h: Tensor<"f32">;
  readonly c: Tensor<"f32">;
}

/** What a stream remembers. */
export interface DecoderState {
  readonly lstms: readonly LstmState[];
  /** In the order in which the decoder runs them. */
  readonly convs: readonly Conv1dStream[];
}

/** The decoder, as its streams see it. */
interface Decoding {
  newState(): DecoderState;
  /** @throws {CaracalError} for codes that are none */
  check(frames: readonly SpeechFrame[]): void;
  /** Queues the next samples of streams, as many of each: those of their frames, or without frames their last ones. */
  advance(states: readonly DecoderState[], frames: readonly SpeechFrame[] | undefined): Tensor<"f32"> | undefined;
}

/** What a stream has pushed; without frames, it ends. */
interface Job {
  readonly state: DecoderState;
  readonly frames: readonly SpeechFrame[] | undefined;
  readonly resolve: (samples: Float32Array | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** Streams that advance together at most, which the operations limit. */
const maxTogether = 64;

/**
 * Advances the streams of a decoder. Those that push as many frames in the same turn of the event loop advance together,
 * which reads the weights once; their bits are the same.
 */
export class StreamBatcher {
  readonly #decoding: Decoding;
  #waiting: Job[] = [];
  /** States whose last samples are not there yet, or failed: a fault of theirs must not reach other streams. */
  readonly #unsettled = new WeakSet<DecoderState>();

  constructor(decoding: Decoding) {
    this.#decoding = decoding;
  }

  newState(): DecoderState {
    return this.#decoding.newState();
  }

  /** @throws {CaracalError} for codes that are none, before the stream is changed */
  check(frames: readonly SpeechFrame[]): void {
    this.#decoding.check(frames);
  }

  advance(state: DecoderState, frames: readonly SpeechFrame[] | undefined): Promise<Float32Array | undefined> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ state, frames, resolve, reject });
      if (this.#waiting.length === 1) queueMicrotask(() => this.#run());
    });
  }

  /** Frees a state, after what its stream has pushed was queued. */
  dispose(state: DecoderState): void {
    if (this.#waiting.some((job) => job.state === state)) queueMicrotask(() => disposeState(state));
    else disposeState(state);
  }

  #run(): void {
    let waiting = this.#waiting;
    this.#waiting = [];
    while (waiting.length > 0) {
      const together = this.#togetherOf(waiting);
      waiting = waiting.filter((job) => !together.has(job));
      void this.#compute([...together]);
    }
  }

  /** The first job, and those that can run with it. */
  #togetherOf([first, ...others]: readonly Job[]): Set<Job> {
    const together = new Set([first!]);
    if (this.#aloneWith(first!)) return together;
    const seen = new Set([first!.state]);
    for (const job of others) {
      if (together.size === maxTogether) break;
      const { state } = job;
      if (!seen.has(state) && !this.#aloneWith(job) && alike(job, first!)) together.add(job);
      seen.add(state); // a later job of the stream comes after this one
    }
    return together;
  }

  #aloneWith({ state, frames }: Job): boolean {
    return !frames || this.#unsettled.has(state) || state.lstms.some(({ h }) => h.disposed);
  }

  /** Never rejects. */
  async #compute(jobs: readonly Job[]): Promise<void> {
    for (const { state } of jobs) this.#unsettled.add(state);
    try {
      const frames = jobs[0]!.frames && jobs.flatMap((job) => job.frames!);
      using wave = this.#decoding.advance(
        jobs.map(({ state }) => state),
        frames,
      );
      const samples = await wave?.toFloat32Array();
      const each = (samples?.length ?? 0) / jobs.length;
      jobs.forEach(({ state, resolve }, i) => {
        this.#unsettled.delete(state);
        resolve(samples?.slice(i * each, (i + 1) * each));
      });
    } catch (error) {
      for (const { reject } of jobs) reject(error);
    }
  }
}

/** Whether streams that push these get as many samples. */
function alike(a: Job, b: Job): boolean {
  return a.frames?.length === b.frames?.length && a.state.convs[0]!.missing === b.state.convs[0]!.missing;
}

/**
 * Decodes frames as they arrive: the samples of a frame follow once three more frames have arrived, or at the end.
 * However the utterance is split, the joined samples equal those of the whole.
 */
export class SpeechDecoderStream implements Disposable {
  readonly #streams: StreamBatcher;
  #state: DecoderState;
  #started = false;

  /** @internal Use `SpeechDecoder.stream`. */
  constructor(streams: StreamBatcher) {
    this.#streams = streams;
    this.#state = streams.newState();
  }

  /**
   * @param frames any number of frames
   * @returns the samples that became final, in [−1, 1]; `undefined` when there are none
   * @throws {CaracalError} as `SpeechDecoder.decode`; the stream is then unchanged
   */
  async push(frames: readonly SpeechFrame[]): Promise<Float32Array | undefined> {
    const list = checkedFrames("SpeechDecoderStream.push", frames);
    if (list.length === 0) return undefined;
    this.#streams.check(list);
    this.#started = true;
    return this.#streams.advance(this.#state, list);
  }

  /** Ends the utterance and returns its remaining samples. Then restarts the stream. */
  async flush(): Promise<Float32Array | undefined> {
    if (!this.#started) return undefined;
    const ended = this.#state;
    // Made before the samples are queued: if it fails, there is no promise yet that nobody would handle.
    this.#state = this.#streams.newState();
    this.#started = false;
    try {
      return await this.#streams.advance(ended, undefined);
    } finally {
      this.#streams.dispose(ended);
    }
  }

  /** Frees the stream's state. Safe to call twice. */
  dispose(): void {
    this.#streams.dispose(this.#state);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function disposeState({ lstms, convs }: DecoderState): void {
  disposeAll(lstms);
  for (const conv of convs) conv.dispose();
}

export function newLstmStates(device: Device, size: number): LstmState[] {
  return [0, 1].map(() => ({ h: device.zeros([size]), c: device.zeros([size]) }));
}

/** Returns a copy of the frames. @throws {CaracalError} `INVALID_ARGUMENT` */
export function checkedFrames(where: string, frames: unknown): number[][] {
  const list = checkedList(where, "frames", frames, "a list of frames, each a list of codes", maxFrames);
  return list.map((frame, i) => checkedList(where, `frames[${i}]`, frame, "a list of codes", maxBooks));
}
