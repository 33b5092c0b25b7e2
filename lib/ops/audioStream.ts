import { CaracalError } from "../errors.js";
import { checkedFloats, checkObject, checkOption, checkOptionNames, checkOptions } from "../options.js";
import { checkTensor, deviceRule } from "../tensor/check.js";
import type { Device, Tensor } from "../tensor/tensor.js";
import { fbank, fsmnMemory } from "./audio.js";
import {
  type FbankOptions,
  type FsmnParameters,
  fbankOptionNames,
  fsmnParameters,
  type SpliceOptions,
  spliceOptions,
} from "./audioOptions.js";
import { type Activations, call } from "./call.js";
import { copyRows } from "./rows.js";

/** Options of a stream's `push`. */
export interface PushOptions {
  /** Whether these are the last rows of the stream. Default false. */
  readonly last?: boolean;
}
export const pushOptions = { last: true } satisfies Record<keyof PushOptions, true>;

/** Refuses what is not rows `[T, columns]`. */
export function checkRows(where: string, argument: string, x: unknown): void {
  checkTensor(where, argument, x);
  const { shape } = x as Tensor;
  if (shape.length !== 2)
    throw new CaracalError(
      "SHAPE_MISMATCH",
      `${where}: ${argument} must have 2 dimensions, got [${shape.join(", ")}]`,
      {
        argument,
        expected: "2 dimensions",
        actual: `[${shape.join(", ")}]`,
      },
    );
}

/** The rows of x from `skip` on. Disposes x if it is not returned. */
export function dropRows<D extends Activations>(x: Tensor<D>, skip: number): Tensor<D> {
  if (skip === 0) return x;
  const kept = x.slice(skip);
  x.dispose();
  return kept as Tensor<D>;
}

/**
 * `fbank` of a wave that arrives in pieces of any length: together, the frames of all pieces are bit-identical to those of
 * the whole. Samples that do not fill a frame wait for the next piece.
 */
export class FbankStream {
  readonly #device: Device;
  readonly #options: FbankOptions;
  #waiting = new Float32Array(0);
  #skip = 0; // samples before the next frame, if frameShift exceeds frameLength

  /** @throws {CaracalError} `INVALID_ARGUMENT` when an option is unknown */
  constructor(device: Device, options: FbankOptions = {}) {
    checkOption("FbankStream", "device", device, deviceRule);
    checkOptionNames("FbankStream", options, fbankOptionNames);
    this.#device = device;
    this.#options = options;
  }

  /**
   * @param samples in the range of 16-bit integers
   * @returns `[frames, melBins]` f32: the frames that are now complete, possibly none
   * @throws {CaracalError} as `fbank`
   */
  push(samples: Float32Array): Tensor<"f32"> {
    const values = checkedFloats("FbankStream.push", "samples", samples, "a Float32Array");
    const skipped = Math.min(this.#skip, values.length);
    this.#skip -= skipped;
    const wave = new Float32Array(this.#waiting.length + values.length - skipped);
    wave.set(this.#waiting);
    wave.set(values.subarray(skipped), this.#waiting.length);
    using tensor = this.#device.tensor(wave, [wave.length]);
    const frames = fbank(tensor, this.#options);
    const used = frames.shape[0]! * (this.#options.frameShift ?? 160);
    this.#waiting = wave.slice(used);
    this.#skip += Math.max(0, used - wave.length);
    return frames;
  }

  /** A stream that has got the same pieces; both then go on by themselves. */
  fork(): FbankStream {
    const fork = new FbankStream(this.#device, this.#options);
    fork.#waiting = this.#waiting; // replaced, never written
    fork.#skip = this.#skip;
    return fork;
  }
}

/** `splice` of frames that arrive in pieces: together, the rows of all pieces are those of the whole. */
export class SpliceStream<D extends Activations = "f32"> implements Disposable {
  readonly #options: Required<SpliceOptions>;
  readonly #state: Tensor<D>;
  #frames = 0;
  #rows = 0;

  /**
   * @param columns of a frame
   * @param options `dtype` is that of the frames, f32 by default
   * @throws {CaracalError} `INVALID_ARGUMENT` when an option is unknown
   */
  constructor(device: Device, columns: number, options: SpliceOptions & { dtype?: D }) {
    checkOption("SpliceStream", "device", device, deviceRule);
    checkObject("SpliceStream", "options", options);
    checkOptions("SpliceStream", options, { ...spliceOptions, dtype: true });
    const { left, right, stride = 1, dtype = "f32" as D } = options;
    this.#options = { left, right, stride };
    this.#state = device.zeros([left + right, columns], dtype);
  }

  /**
   * @param frames `[T, columns]`; T may be 0
   * @returns the rows whose neighbours are known; with `last`, all remaining rows
   * @throws {CaracalError} as `splice`
   */
  push(frames: Tensor<D>, options: PushOptions = {}): Tensor<D> {
    checkRows("SpliceStream.push", "frames", frames);
    checkOptionNames("SpliceStream.push", options, pushOptions);
    const { last = false } = options;
    const { left, right, stride } = this.#options;
    const before = this.#frames;
    const total = before + frames.shape[0]!;
    const centres = Math.max(0, last ? total : total - right); // frames that can be centres now
    const known = Math.min(before, left + right);
    const first = this.#rows * stride - before;
    const rows = Math.ceil(centres / stride) - this.#rows;
    const args = { x: frames, state: this.#state, left, right, stride, first, rows, known };
    const out = call("splice", args)[0] as Tensor<D>;
    this.#frames = total;
    this.#rows += rows;
    return out;
  }

  /** A stream that has got the same pieces; both then go on by themselves. */
  fork(): SpliceStream<D> {
    const { device, shape, dtype } = this.#state;
    const fork = new SpliceStream<D>(device, shape[1]!, { ...this.#options, dtype });
    copyRows(fork.#state as Tensor, this.#state as Tensor);
    fork.#frames = this.#frames;
    fork.#rows = this.#rows;
    return fork;
  }

  /** Frees the stream's state. Safe to call twice. */
  dispose(): void {
    this.#state.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * `fsmnMemory` of rows that arrive in pieces. A memory with look-ahead returns its rows `delay` rows late. Together, all
 * rows are bit-identical to those of the whole.
 */
export class FsmnMemoryStream<D extends Activations = "f32"> implements Disposable {
  /** Rows by which the output lags behind the input until the end. */
  readonly delay: number;
  readonly #weight: Tensor<Activations>;
  readonly #options: FsmnParameters;
  readonly #state: Tensor<D>;
  readonly #pending: Tensor<D> | undefined;
  #skip: number;

  /**
   * @param weight as for `fsmnMemory`; the stream disposes neither it nor the norm's tensors
   * @param options `residual` (default true) tells whether rows come with a residual; `dtype` is that of the rows, f32 by
   *   default
   * @throws {CaracalError} `INVALID_ARGUMENT` when an option is unknown
   */
  constructor(weight: Tensor<Activations>, options: FsmnParameters & { dtype?: D; residual?: boolean }) {
    checkTensor("FsmnMemoryStream", "weight", weight);
    checkObject("FsmnMemoryStream", "options", options);
    checkOptions("FsmnMemoryStream", options, { ...fsmnParameters, dtype: true, residual: true });
    const { dtype = "f32" as D, residual = true, ...parameters } = options;
    const { leftOrder, rightOrder = 0, leftStride = 1, rightStride = 1 } = parameters;
    const channels = weight.shape[0]!;
    this.delay = rightOrder * rightStride;
    this.#weight = weight;
    this.#options = parameters;
    this.#state = weight.device.zeros([leftOrder * leftStride + this.delay, channels], dtype);
    if (residual && this.delay > 0) this.#pending = weight.device.zeros([this.delay, channels], dtype);
    this.#skip = this.delay;
  }

  /**
   * @param x `[T, C]`; T may be 0
   * @param residual `[T, C]`
   * @returns the rows whose look-ahead is known; with `last`, all remaining rows
   * @throws {CaracalError} as `fsmnMemory`
   */
  push(x: Tensor<D>, residual?: Tensor<D>, options: PushOptions = {}): Tensor<D> {
    checkRows("FsmnMemoryStream.push", "x", x);
    checkOptionNames("FsmnMemoryStream.push", options, pushOptions);
    const { last = false } = options;
    const stream = { state: this.#state, pending: this.#pending, last };
    const rows = fsmnMemory(x, this.#weight, { ...this.#options, residual, ...stream });
    const skip = Math.min(this.#skip, rows.shape[0]!);
    this.#skip -= skip;
    return dropRows(rows, skip);
  }

  /** A stream that has got the same pieces; both then go on by themselves. */
  fork(): FsmnMemoryStream<D> {
    const residual = this.#pending !== undefined;
    const fork = new FsmnMemoryStream<D>(this.#weight, { ...this.#options, dtype: this.#state.dtype, residual });
    copyRows(fork.#state as Tensor, this.#state as Tensor);
    if (this.#pending) copyRows(fork.#pending as Tensor, this.#pending as Tensor);
    fork.#skip = this.#skip;
    return fork;
  }

  /** Frees the stream's state. Safe to call twice. */
  dispose(): void {
    this.#state.dispose();
    this.#pending?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
