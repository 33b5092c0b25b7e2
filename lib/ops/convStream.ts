import { CaracalError } from "../errors.js";
import { checkedList, checkObject, checkOptionNames, checkOptions, isObject, refuseValue } from "../options.js";
import { checkTensor } from "../tensor/check.js";
import type { Tensor } from "../tensor/tensor.js";
import { type Conv1dWeight, type ConvTranspose1dWeight, convTranspose1d } from "./audio.js";
import {
  type Conv1dGeometry,
  type ConvTranspose1dGeometry,
  conv1dGeometry,
  convTranspose1dGeometry,
  paddingRows,
} from "./audioOptions.js";
import { checkRows, dropRows, type PushOptions, pushOptions } from "./audioStream.js";
import { type Activations, call } from "./call.js";

/** Streams that advance together at most. */
const maxStreams = 64;

/**
 * `conv1d` of rows that arrive in pieces, with any padding and stride. Together, all rows are bit-identical to those of the
 * whole. With right padding, the output lags behind until the end.
 */
export class Conv1dStream<D extends Activations = "f32"> implements Disposable {
  readonly #weight: Conv1dWeight;
  readonly #options: Omit<Conv1dGeometry, "padding">;
  readonly #state: Tensor<D>;
  readonly #padRight: number;
  #position: number; // the row of the stream that the last tap of the next output row reads
  #rows = 0;

  /**
   * @param weight as for `conv1d`; the stream disposes neither it nor the vectors
   * @param options `dtype` is that of the rows, f32 by default
   * @throws {CaracalError} `INVALID_ARGUMENT` when the left padding exceeds the reach of the taps, `(k-1)·dilation`, or an
   *   option is unknown
   */
  constructor(weight: Conv1dWeight, options: Conv1dGeometry & { dtype?: D } = {}) {
    checkTensor("Conv1dStream", "weight", weight);
    checkOptions("Conv1dStream", options, { ...conv1dGeometry, dtype: true });
    const { padding = "causal", dtype = "f32" as D, ...geometry } = options;
    const [, channels, taps] = weight.shape;
    const span = (taps - 1) * (geometry.dilation ?? 1);
    const [left, right] = paddingRows("Conv1dStream", padding, span);
    if (left > span)
      throw new CaracalError("INVALID_ARGUMENT", `Conv1dStream: left padding must be at most ${span}, got ${left}`);
    this.#weight = weight;
    this.#options = geometry;
    this.#state = weight.device.zeros([span, channels * (geometry.groups ?? 1)], dtype);
    this.#padRight = right;
    this.#position = span - left;
  }

  /**
   * @param x `[T, Cin]`; T may be 0
   * @returns the rows whose inputs are known; with `last`, all remaining rows
   * @throws {CaracalError} as `conv1d`
   */
  push(x: Tensor<D>, options: PushOptions = {}): Tensor<D> {
    checkRows("Conv1dStream.push", "x", x);
    checkOptionNames("Conv1dStream.push", options, pushOptions);
    return Conv1dStream.#push([this], x, options);
  }

  /**
   * Advances several streams of one weight and its options together: the bits are those of `push` for each of them.
   * @param streams at most 64, which have got the same number of rows, or all enough of them for their first output
   * @param x `[streams · T, Cin]`: the T next rows of the first stream, then those of the second, and so on
   * @returns the rows whose inputs are known, as many of each stream
   * @throws {CaracalError} `INVALID_ARGUMENT` for streams that differ or are none; as `push`
   */
  static pushAll<D extends Activations>(
    streams: readonly Conv1dStream<D>[],
    x: Tensor<D>,
    options: PushOptions = {},
  ): Tensor<D> {
    const list = checkedList<Conv1dStream<D>>("Conv1dStream.pushAll", "streams", streams, "streams", maxStreams);
    const [first] = list;
    if (!first || !list.every((stream) => isObject(stream) && #state in stream && stream.#isLike(first)))
      refuseValue("Conv1dStream.pushAll", "streams", "streams of one weight that have got as many rows", streams);
    checkRows("Conv1dStream.pushAll", "x", x);
    checkOptionNames("Conv1dStream.pushAll", options, pushOptions);
    return Conv1dStream.#push(list, x, options);
  }

  static #push<D extends Activations>(
    streams: readonly Conv1dStream<D>[],
    x: Tensor<D>,
    options: PushOptions,
  ): Tensor<D> {
    const { length } = streams;
    const stream = streams[0]!;
    const y = call("conv1d", {
      ...stream.#options,
      x,
      w: stream.#weight,
      state: streams.map((one) => one.#state),
      first: stream.missing,
      padRight: options.last ? stream.#padRight : 0,
    })[0] as Tensor<D>;
    for (const one of streams) {
      one.#position += (y.shape[0]! / length) * (one.#options.stride ?? 1);
      one.#rows += x.shape[0]! / length;
    }
    return y;
  }

  /** Rows of x that come before the one that completes the next output row. */
  get missing(): number {
    return this.#position - this.#rows;
  }

  /** Whether the streams do the same with their next rows. */
  #isLike(other: Conv1dStream<D>): boolean {
    const options = Object.keys({ ...this.#options, ...other.#options }) as (keyof Conv1dGeometry & string)[];
    return (
      this.#weight === other.#weight &&
      this.#padRight === other.#padRight &&
      this.missing === other.missing &&
      options.every((name) => Object.is(this.#options[name as never], other.#options[name as never]))
    );
  }

  /** Frees the stream's state. Safe to call twice. */
  dispose(): void {
    this.#state.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** `convTranspose1d` of rows that arrive in pieces: together, all rows are bit-identical to those of the whole. */
export class ConvTranspose1dStream implements Disposable {
  readonly #weight: ConvTranspose1dWeight;
  readonly #options: ConvTranspose1dGeometry;
  readonly #state: Tensor<"f32">;
  #skip: number;

  /**
   * @param weight as for `convTranspose1d`; the stream disposes neither it nor the bias
   * @throws {CaracalError} `INVALID_ARGUMENT` when an option is unknown
   */
  constructor(weight: ConvTranspose1dWeight, options: ConvTranspose1dGeometry) {
    checkTensor("ConvTranspose1dStream", "weight", weight);
    checkObject("ConvTranspose1dStream", "options", options);
    checkOptions("ConvTranspose1dStream", options, convTranspose1dGeometry);
    const [, outputs, taps] = weight.shape;
    this.#weight = weight;
    this.#options = options;
    this.#state = weight.device.zeros([Math.max(0, taps - options.stride), outputs]);
    this.#skip = options.padding ?? 0;
  }

  /**
   * @param x `[T, Cin]`; T may be 0
   * @returns the rows that no later row of x adds to; with `last`, all remaining rows
   * @throws {CaracalError} as `convTranspose1d`
   */
  push<D extends Activations>(x: Tensor<D>, options: PushOptions = {}): Tensor<D> {
    checkRows("ConvTranspose1dStream.push", "x", x);
    checkOptionNames("ConvTranspose1dStream.push", options, pushOptions);
    const { last = false } = options;
    const y = convTranspose1d(x, this.#weight, { ...this.#options, state: this.#state, last });
    const skip = Math.min(this.#skip, y.shape[0]!);
    this.#skip -= skip;
    return dropRows(y, skip);
  }

  /** Frees the stream's state. Safe to call twice. */
  dispose(): void {
    this.#state.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
