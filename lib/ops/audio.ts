import { checkObject, checkOptionNames, checkOptions, type OptionRule } from "../options.js";
import { checkTensor } from "../tensor/check.js";
import type { PackedWeight } from "../tensor/packedWeight.js";
import type { Shape, Tensor } from "../tensor/tensor.js";
import {
  type Conv1dGeometry,
  type ConvTranspose1dGeometry,
  conv1dGeometry,
  type FbankOptions,
  type FsmnParameters,
  fsmnParameters,
  fusedLayerNormNames,
  paddingRows,
  type SpliceOptions,
  spliceOptions,
} from "./audioOptions.js";
import { type Activations, call, callPacked, type Weight } from "./call.js";
import type { PerColumn } from "./norm.js";
import type { If, Last, Matches, Ranked, Shaped, ShapeText } from "./shapes.js";

export type {
  Conv1dGeometry,
  ConvPadding,
  ConvTranspose1dGeometry,
  FbankOptions,
  FsmnOrders,
  FsmnParameters,
  FusedLayerNorm,
  SpliceOptions,
} from "./audioOptions.js";

/**
 * Log mel filterbank energies as in Kaldi, without dither. Per frame: pre-emphasis (`x[-1] = x[0]`), window, power
 * spectrum, triangular filters in `mel = 1127·ln(1 + f/700)`, `log(max(E, 2^-23))`. Frames are not centred, and samples
 * at the end that do not fill a frame are dropped. `FbankStream` is the streaming form.
 *
 * @param wave `[N]` f32, in the range of 16-bit integers (±32768)
 * @returns `[frames, melBins]` f32 with `frames = floor((N - frameLength) / frameShift) + 1`, or 0 when N < frameLength
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH` or `DISPOSED` for an unsuitable wave, `INVALID_ARGUMENT` when
 *   an option is unknown or out of range. On CUDA, when the result is read: `UNSUPPORTED` for a transform that does not fit
 *   into shared memory
 */
export function fbank<S extends Shape>(
  wave: Tensor<"f32", S> & Ranked<S, 1>,
  options: FbankOptions = {},
): Tensor<"f32", readonly [number, number]> {
  return call("fbank", { wave }, options)[0] as Tensor<"f32", readonly [number, number]>;
}

/**
 * Cepstral mean and variance normalisation, `(x - mean) ⊙ inverseStd`.
 *
 * @param x `[T, C]` f32 or bf16
 * @param mean `[C]` f32
 * @param inverseStd `[C]` f32, `1 / max(eps, sqrt(variance))`
 * @returns `[T, C]` of x's dtype
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors
 */
export function cmvn<D extends Activations, S extends Shape, M extends Shape, I extends Shape>(
  x: Tensor<D, S> & Ranked<S, 2>,
  mean: Tensor<"f32", M> & Shaped<M, readonly [Last<S>]>,
  inverseStd: Tensor<"f32", I> & Shaped<I, readonly [Last<S>]>,
): Tensor<D, S> {
  return call("cmvn", { x, mean, inverseStd })[0] as Tensor<D, S>;
}

/**
 * Stacks frames with their neighbours and keeps every `stride`-th:
 * `y[t] = [x[stride·t - left] | … | x[stride·t + right]]`. Beyond the ends, the first or last frame is repeated.
 * `SpliceStream` is the streaming form.
 *
 * @param x `[T, C]` f32 or bf16
 * @returns `[ceil(T / stride), C·(left + 1 + right)]` of x's dtype
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH` or `DISPOSED` for an unsuitable x, `INVALID_ARGUMENT` when an
 *   option is unknown or out of range
 */
export function splice<D extends Activations, S extends Shape>(
  x: Tensor<D, S> & Ranked<S, 2>,
  options: SpliceOptions,
): Tensor<D, readonly [number, number]> {
  checkObject("ops.splice", "options", options);
  checkOptions("ops.splice", options, spliceOptions);
  return call("splice", { x }, options)[0] as Tensor<D, readonly [number, number]>;
}

/** Options of `fsmnMemory`. */
export interface FsmnMemoryOptions<D extends Activations = Activations> extends FsmnParameters {
  /** `[T, C]` of x's dtype, added to the memory; it may be x. */
  readonly residual?: Tensor<D> | undefined;
  /**
   * Streaming: the last `leftOrder·leftStride + delay` rows of z, with `delay = rightOrder·rightStride`; `[…, C]` of
   * x's dtype, zeros at the start, updated in place. Output row i then belongs to the row that came `delay` rows before
   * x's row i, so the first `delay` rows of a stream are meaningless. `FsmnMemoryStream` handles this.
   */
  readonly state?: Tensor<D> | undefined;
  /** Streaming with a residual and a delay: `[delay, C]`, the residual rows that wait; zeros at the start. */
  readonly pending?: Tensor<D> | undefined;
  /** Ends a stream: returns `delay` more rows, as if zero rows followed. */
  readonly last?: boolean;
}
const fsmnMemoryOptions = {
  ...fsmnParameters,
  residual: true,
  state: true,
  pending: true,
  last: true,
} satisfies Record<keyof FsmnMemoryOptions, OptionRule | true>;

/**
 * The memory of a feed-forward sequential memory network (FSMN): a depthwise filter over time,
 * `y[t, c] = residual[t, c] + Σ_k w[c, k] · z[t + o_k, c]` with the taps
 * `o = -leftOrder·leftStride, …, -leftStride, 0, rightStride, …, rightOrder·rightStride`. z is x, or `layerNorm(x)` with
 * `norm`; rows of z beyond the ends are zero. Sums are in f32, in order of k, so streaming gives the bits of the whole.
 *
 * @param x `[T, C]` f32 or bf16
 * @param weight `[C, leftOrder + 1 + rightOrder]`, or `[C, 1, …]` as in checkpoints; f32 or bf16
 * @returns `[T, C]` of x's dtype
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` when an option is unknown, out of range or does not fit the others
 */
export function fsmnMemory<D extends Activations, S extends Shape, W extends Shape>(
  x: Tensor<D, S> & Ranked<S, 2>,
  weight: Tensor<Activations, W> &
    If<
      Matches<W, readonly [Last<S>, number]> | Matches<W, readonly [Last<S>, 1, number]>,
      `the shape must be ${ShapeText<readonly [Last<S>, number]>}, not ${ShapeText<W>}`
    >,
  options: FsmnMemoryOptions<D>,
): Tensor<D, readonly [number, Last<S>]> {
  checkObject("ops.fsmnMemory", "options", options);
  checkOptions("ops.fsmnMemory", options, fsmnMemoryOptions);
  const { norm, ...rest } = options;
  checkOptionNames("ops.fsmnMemory: norm", norm, fusedLayerNormNames);
  const fused = { "norm.weight": norm?.weight, "norm.bias": norm?.bias, "norm.eps": norm?.eps };
  return call("fsmnMemory", { x, weight, ...fused }, rest)[0] as Tensor<D, readonly [number, Last<S>]>;
}

/**
 * The Snake activation, `x + sin²(αx) / (α + 1e-9)` with one α per channel, computed in f32.
 *
 * @param x `[..., C]` f32 or bf16
 * @param alpha `[C]` f32 or bf16
 * @returns of x's shape and dtype
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors
 */
export function snake<D extends Activations, S extends Shape, A extends Shape>(
  x: Tensor<D, S>,
  alpha: PerColumn<A, S>,
): Tensor<D, S> {
  return call("snake", { x, alpha })[0] as Tensor<D, S>;
}

/** Arguments of `codecEmbedding`. */
export interface CodecEmbeddingArguments<D extends Activations> {
  /** `[T]`, row indices of `semanticTable` */
  readonly semantic: Tensor<"i32">;
  /** `[T, Q]`; a code is the pair of entry `code / n` of tableA and entry `code mod n` of tableB (n entries per book). */
  readonly acoustic: Tensor<"i32">;
  /** `[V, S]` */
  readonly semanticTable: Tensor<D>;
  /** `[Q, n, A]` and `[Q, n, B]`: the books' entries after their output projections. */
  readonly tableA: Tensor<D>;
  readonly tableB: Tensor<D>;
}

/**
 * Embeds the codes of speech-codec frames:
 * `y[t] = [semanticTable[s_t] | Σ_q tableA[q, code / n] | Σ_q tableB[q, code mod n]]` (published code of
 * LongCat-Audio-Codec). Sums are in f32, in order of q.
 *
 * @returns `[T, S + A + B]` of the tables' dtype
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` for an unknown argument. When the result is read: `INDEX_OUT_OF_RANGE` for a code outside its table
 */
export function codecEmbedding<D extends Activations>(
  args: CodecEmbeddingArguments<D>,
): Tensor<D, readonly [number, number]> {
  return call("codecEmbedding", {}, args)[0] as Tensor<D, readonly [number, number]>;
}

/** `[Cout, Cin/groups, k]` or `[Cin, Cout, k]`. */
export type Taps = readonly [number, number, number];
/** A weight of `conv1d`, `[Cout, Cin/groups, k]`, plain or packed by `packConv1d`. */
export type Conv1dWeight<D extends Activations = Activations, S extends Shape = Taps> = Weight<D, S, "conv1d">;
/** A weight of `convTranspose1d`, `[Cin, Cout, k]`, plain or packed by `packConvTranspose1d`. */
export type ConvTranspose1dWeight<D extends Activations = Activations, S extends Shape = Taps> = Weight<
  D,
  S,
  "convTranspose1d"
>;
/** The shape of a convolution weight of shape S. */
export type ConvShape<S extends Shape> = number extends S["length"] ? Taps : S;

/** Options of `conv1d`. */
export interface Conv1dOptions<D extends Activations = Activations> extends Conv1dGeometry {
  /** `[T', Cout]`, added last. */
  readonly residual?: Tensor<D> | undefined;
  /**
   * Streaming: the last `(k-1)·dilation` rows of x, `[…, Cin]` of x's dtype, zeros at the start, updated in place. It
   * replaces the left padding; a right padding ends the stream. A list of up to 64 states advances as many streams: x's rows
   * are then as many equal pieces, in the same order. `Conv1dStream` also handles look-ahead and strides.
   */
  readonly state?: Tensor<D> | readonly Tensor<D>[] | undefined;
}
const conv1dOptions = { ...conv1dGeometry, residual: true, state: true } satisfies Record<
  keyof Conv1dOptions,
  OptionRule | true
>;

/** Options of `packConv1d`. */
export interface PackConv1dOptions {
  /** As for `conv1d`. Default 1. */
  readonly groups?: number | undefined;
}

/**
 * Packs a convolution weight for the backend's matrix kernels; call it once, at load. `conv1d` gives the same bits with
 * the plain weight, only slower.
 *
 * @param w `[Cout, Cin/groups, k]`, f32 or bf16; not depthwise, since `conv1d` needs such a weight plain
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH` or `DISPOSED` for an unsuitable w, `INVALID_ARGUMENT` when w
 *   is depthwise, groups does not divide Cout, or an option is unknown
 */
export function packConv1d<D extends Activations, S extends Shape>(
  w: Tensor<D, S> & Ranked<S, 3>,
  options: PackConv1dOptions = {},
): PackedWeight<D, ConvShape<S>, "conv1d"> {
  return callPacked("packConv1d", { w }, options) as PackedWeight<D, ConvShape<S>, "conv1d">;
}

/**
 * Convolution over time,
 * `y[t, o] = residual[t, o] + act(bias[o] + Σ_j Σ_c w[o, c, j] · x[t·stride + j·dilation - left, c])`, where x is zero
 * beyond its ends. Sums are in f32 in a fixed order, so streaming gives the bits of the whole. Everything is f32 before y
 * is rounded, also with `snake`: for f32 rows the result is bit-identical to the two operations. `Conv1dStream` is the
 * streaming form.
 *
 * @param x `[T, Cin]` f32 or bf16
 * @param w `[Cout, Cin/groups, k]` f32 or bf16, plain or from `packConv1d` with the same groups
 * @returns `[T', Cout]` of x's dtype, `T' = floor((T + left + right - (k-1)·dilation - 1) / stride) + 1`, or 0
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` when an option is unknown, out of range or does not fit the others
 */
export function conv1d<D extends Activations, S extends Shape, W extends Shape, G extends number = 1>(
  x: Tensor<D, S> & Ranked<S, 2>,
  w: Conv1dWeight<Activations, W> & Shaped<W, readonly [number, InputsPerGroup<Last<S>, G>, number]>,
  options: Conv1dOptions<D> & { readonly groups?: G } = {},
): Tensor<D, readonly [number, W[0]]> {
  checkTensor("ops.conv1d", "w", w);
  checkOptions("ops.conv1d", options, conv1dOptions);
  const { padding = "causal", state, ...rest } = options;
  const span = ((w.shape[2] ?? 1) - 1) * (options.dilation ?? 1);
  const [left, padRight] = paddingRows("ops.conv1d", padding, span);
  return call("conv1d", { x, w, state: listOf(state), padLeft: state ? 0 : left, padRight }, rest)[0] as Tensor<
    D,
    readonly [number, W[0]]
  >;
}

/** The states of one stream or several. */
const listOf = <T>(state: T | readonly T[] | undefined): readonly T[] | undefined =>
  state === undefined || state === null || Array.isArray(state) ? (state as readonly T[] | undefined) : [state as T];

/** Cin/groups, where the compiler knows it. */
export type InputsPerGroup<C extends number, G extends number> = G extends 1 ? (number extends G ? number : C) : number;

/** Options of `convTranspose1d`. */
export interface ConvTranspose1dOptions extends ConvTranspose1dGeometry {
  /**
   * Streaming: f32 `[max(k - stride, 0), Cout]`, the sums that later rows will add to; zeros at the start, updated in
   * place. A call then returns `T·stride` rows, and the first `padding` rows of the stream are not part of the result.
   * `ConvTranspose1dStream` handles this.
   */
  readonly state?: Tensor<"f32"> | undefined;
  /** Ends a stream: also returns the remaining `k - stride - padding + outputPadding` rows. */
  readonly last?: boolean;
}

/**
 * `packConv1d` for `convTranspose1d`.
 *
 * @param w `[Cin, Cout, k]`, f32 or bf16
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH` or `DISPOSED` for an unsuitable w
 */
export function packConvTranspose1d<D extends Activations, S extends Shape>(
  w: Tensor<D, S> & Ranked<S, 3>,
): PackedWeight<D, ConvShape<S>, "convTranspose1d"> {
  return callPacked("packConvTranspose1d", { w }) as PackedWeight<D, ConvShape<S>, "convTranspose1d">;
}

/**
 * Transposed convolution over time (PyTorch's `ConvTranspose1d`): row t of x adds `Σ_c w[c, o, j] · x[t, c]` to the
 * output rows `t·stride + j - padding`; then the bias is added. Sums are in f32 in a fixed order, so streaming gives the
 * bits of the whole. `ConvTranspose1dStream` is the streaming form.
 *
 * @param x `[T, Cin]` f32 or bf16
 * @param w `[Cin, Cout, k]` f32 or bf16, plain or from `packConvTranspose1d`
 * @returns `[T', Cout]` of x's dtype, `T' = (T-1)·stride + k - 2·padding + outputPadding`, or 0
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` when an option is unknown, out of range or does not fit the others
 */
export function convTranspose1d<D extends Activations, S extends Shape, W extends Shape>(
  x: Tensor<D, S> & Ranked<S, 2>,
  w: ConvTranspose1dWeight<Activations, W> & Shaped<W, readonly [Last<S>, number, number]>,
  options: ConvTranspose1dOptions,
): Tensor<D, readonly [number, number]> {
  return call("convTranspose1d", { x, w }, options)[0] as Tensor<D, readonly [number, number]>;
}

/** The weights of an LSTM layer of H units. */
export interface LstmParameters {
  /** `[4H, I]` and `[4H, H]`, f32 or bf16, plain or from `packWeight` (a packed wHh requires H to be a multiple of 16). */
  readonly wIh: Weight<Activations>;
  readonly wHh: Weight<Activations>;
  /** `[4H]` */
  readonly bIh?: Tensor<Activations> | undefined;
  readonly bHh?: Tensor<Activations> | undefined;
  /** `[H]` f32: the state, zeros at the start, updated in place; or lists of those of up to 64 streams. */
  readonly h: Tensor<"f32"> | readonly Tensor<"f32">[];
  readonly c: Tensor<"f32"> | readonly Tensor<"f32">[];
}

/**
 * One LSTM layer: `[i f g o] = x·wIhᵀ + bIh + bHh + h·wHhᵀ`, `c = σ(f)·c + σ(i)·tanh(g)`, `y = h = σ(o)·tanh(c)`, with
 * the gates in PyTorch's order. Gates and state are f32. A sequence may be cut anywhere: h and c carry the state over, so
 * the bits are those of the whole. With lists of states, as many streams advance: x's rows are equal pieces, in the same
 * order, and the bits of each are those of a call by itself.
 *
 * @param x `[T, I]` f32 or bf16
 * @returns `[T, H]` of x's dtype
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` for an unknown parameter, a packed wHh whose H is not a multiple of 16, or a state that shares
 *   memory with another parameter
 */
export function lstm<D extends Activations, S extends Shape, I extends Shape, H extends Shape>(
  x: Tensor<D, S> & Ranked<S, 2>,
  parameters: LstmParameters & {
    readonly wIh: Weight<Activations, I> & Shaped<I, readonly [H[0], Last<S>]>;
    readonly wHh: Weight<Activations, H> & Ranked<H, 2>;
  },
): Tensor<D, readonly [S[0], Last<H>]> {
  checkObject("ops.lstm", "parameters", parameters);
  const { h, c, ...rest } = parameters;
  return call("lstm", { x, h: listOf(h), c: listOf(c) }, rest)[0] as Tensor<D, readonly [S[0], Last<H>]>;
}

/**
 * The weight that a weight-normed layer applies, `g · v / ‖v‖` with the norm over all dimensions but the first. PyTorch's
 * `weight_norm` stores v and g as `weight_v` and `weight_g`. Call it once, at load; it releases the pages of a
 * memory-mapped v.
 *
 * @param v `[N, …]` f32
 * @param g f32, one number for each of the N rows
 * @returns f32 of v's shape; a row of zeros gives NaN
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors
 */
export function foldWeightNorm<S extends Shape>(v: Tensor<"f32", S>, g: Tensor<"f32">): Tensor<"f32", S> {
  return call("foldWeightNorm", { v, g })[0] as Tensor<"f32", S>;
}
