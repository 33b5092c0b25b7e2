import { checkOptionNames } from "../options.js";
import type { Shape, Tensor } from "../tensor/tensor.js";
import { type Activations, call, callPacked, type Weight } from "./call.js";
import type { Activation } from "./linear.js";

export interface FbankOptions {
  /** Hz; default 16000. */
  readonly sampleRate?: number;
  /** Samples of a frame; default 400 (25 ms). */
  readonly frameLength?: number;
  /** Samples from one frame to the next; default 160 (10 ms). */
  readonly frameShift?: number;
  /** A power of two, no less than frameLength; default 512. */
  readonly fftSize?: number;
  /** Default 80. */
  readonly melBins?: number;
  /** Lower edge of the filters in Hz; default 40. */
  readonly lowHz?: number;
  /** Upper edge in Hz; 0 or less counts from the Nyquist frequency down. Default -200. */
  readonly highHz?: number;
  /** Default 0.97; 0 turns it off. */
  readonly preemphasis?: number;
  /** Subtract each frame's mean first; default false. */
  readonly removeDc?: boolean;
  /** Default `"povey"`, a Hann window to the power 0.85. */
  readonly window?: "povey" | "hann" | "hamming";
}

/**
 * Log mel filterbank energies as Kaldi computes them, without dither: per frame pre-emphasis (`x[-1] = x[0]`), window,
 * power spectrum, triangular filters in `mel = 1127·ln(1 + f/700)`, `log(max(E, 2^-23))`. Frames are not centred; what
 * is left at the end and fills no frame is dropped.
 *
 * @param wave `[N]` f32, in the range of 16-bit integers (±32768)
 * @returns `[frames, melBins]` f32, `frames = floor((N - frameLength) / frameShift) + 1`, or 0 when N < frameLength
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT` (FFT size, band), `DISPOSED`
 */
export function fbank(wave: Tensor<"f32">, options: FbankOptions = {}): Tensor<"f32"> {
  return call("fbank", { wave }, options)[0] as Tensor<"f32">;
}

/**
 * Cepstral mean and variance normalisation, `(x - mean) ⊙ inverseStd`.
 *
 * @param x `[T, C]` f32 or bf16
 * @param mean `[C]` f32
 * @param inverseStd `[C]` f32, `1 / max(eps, sqrt(variance))`
 * @returns `[T, C]` of x's dtype
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH`, `DISPOSED`
 */
export function cmvn<D extends Activations, S extends Shape>(
  x: Tensor<D, S>,
  mean: Tensor<"f32">,
  inverseStd: Tensor<"f32">,
): Tensor<D, S> {
  return call("cmvn", { x, mean, inverseStd })[0] as Tensor<D, S>;
}

export interface SpliceOptions {
  /** Frames before and after the centre that are stacked with it. */
  readonly left: number;
  readonly right: number;
  /** Frames from one centre to the next; default 1. */
  readonly stride?: number;
}

/** @internal */
export const spliceOptionNames = { left: true, right: true, stride: true } as const;

/**
 * Stacks frames with their neighbours and keeps every `stride`-th:
 * `y[t] = [x[stride·t - left] | … | x[stride·t + right]]`; beyond the ends the first or last frame is repeated.
 * `SpliceStream` is its streaming form.
 *
 * @param x `[T, C]` f32 or bf16
 * @returns `[ceil(T / stride), C·(left + 1 + right)]` of x's dtype
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT`, `DISPOSED`
 */
export function splice<D extends Activations>(x: Tensor<D>, options: SpliceOptions): Tensor<D> {
  checkOptionNames("ops.splice", options, spliceOptionNames);
  return call("splice", { x }, options)[0] as Tensor<D>;
}

export interface FsmnOrders {
  /** Rows of the past that the memory sees, besides the present one. */
  readonly leftOrder: number;
  /** Rows of the future; default 0. */
  readonly rightOrder?: number;
  /** Rows from one tap to the next, in the past and in the future; default 1. */
  readonly leftStride?: number;
  readonly rightStride?: number;
}

/** A layer norm that another operation has in it. */
export interface FusedLayerNorm {
  /** `[C]`, f32 or bf16, both alike */
  readonly weight: Tensor<Activations>;
  readonly bias?: Tensor<Activations> | undefined;
  /** Default 1e-5. */
  readonly eps?: number;
}

export interface FsmnParameters extends FsmnOrders {
  /** The memory is that of `layerNorm(x)`, in one pass and with the bits of the two operations. */
  readonly norm?: FusedLayerNorm | undefined;
}

/** @internal */
export const fsmnParameterNames = {
  leftOrder: true,
  rightOrder: true,
  leftStride: true,
  rightStride: true,
  norm: true,
} as const;

export interface FsmnMemoryOptions<D extends Activations = Activations> extends FsmnParameters {
  /** `[T, C]` of x's dtype, added to the memory; it may be x. */
  readonly residual?: Tensor<D> | undefined;
  /**
   * Streaming: the last `leftOrder·leftStride + delay` rows of z, with `delay = rightOrder·rightStride`; `[…, C]` of
   * x's dtype, zeros at the start, moved on in place. Output row i then belongs to the row that came `delay` rows
   * before x's row i; the first `delay` rows of a stream mean nothing. `FsmnMemoryStream` takes care of that.
   */
  readonly state?: Tensor<D> | undefined;
  /** Streaming with a residual and a delay: the residual rows that wait, `[delay, C]`, zeros at the start. */
  readonly pending?: Tensor<D> | undefined;
  /** Ends a stream: `delay` rows more come out, as though zero rows followed. */
  readonly last?: boolean;
}

const fsmnMemoryOptionNames = {
  ...fsmnParameterNames,
  residual: true,
  state: true,
  pending: true,
  last: true,
} as const;

/**
 * Memory of a feed-forward sequential memory network (FSMN): a depthwise filter over time,
 * `y[t, c] = residual[t, c] + Σ_k w[c, k] · z[t + o_k, c]` with the taps
 * `o = -leftOrder·leftStride, …, -leftStride, 0, rightStride, …, rightOrder·rightStride`; z is x, or with `norm`
 * `layerNorm(x)`, and rows of z beyond the ends are zero. Sums in f32, in order of k: streaming gives the bits of the
 * whole.
 *
 * @param x `[T, C]` f32 or bf16
 * @param weight `[C, leftOrder + 1 + rightOrder]`, or `[C, 1, …]` as checkpoints store it; f32 or bf16
 * @returns `[T, C]` of x's dtype
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT`, `DEVICE_MISMATCH`, `DISPOSED`
 */
export function fsmnMemory<D extends Activations>(
  x: Tensor<D>,
  weight: Tensor<Activations>,
  options: FsmnMemoryOptions<D>,
): Tensor<D> {
  checkOptionNames("ops.fsmnMemory", options, fsmnMemoryOptionNames);
  const { norm, ...rest } = options;
  const fused = { "norm.weight": norm?.weight, "norm.bias": norm?.bias, "norm.eps": norm?.eps };
  return call("fsmnMemory", { x, weight, ...fused }, rest)[0] as Tensor<D>;
}

/**
 * The Snake activation, `x + sin²(αx) / (α + 1e-9)` with α per channel.
 *
 * @param x `[..., C]` f32 or bf16
 * @param alpha `[C]` f32 or bf16
 * @returns x's shape and dtype; computed in f32
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH`, `DISPOSED`
 */
export function snake<D extends Activations, S extends Shape>(
  x: Tensor<D, S>,
  alpha: Tensor<Activations>,
): Tensor<D, S> {
  return call("snake", { x, alpha })[0] as Tensor<D, S>;
}

export interface CodecEmbeddingArguments<D extends Activations> {
  /** `[T]`, ids of `semanticTable`'s rows. */
  readonly semantic: Tensor<"i32">;
  /** `[T, Q]`; a code stands for the pair `code / n` of tableA and `code mod n` of tableB (n entries per book). */
  readonly acoustic: Tensor<"i32">;
  /** `[V, S]` */
  readonly semanticTable: Tensor<D>;
  /** `[Q, n, A]` and `[Q, n, B]`: the books' entries after their output projections. */
  readonly tableA: Tensor<D>;
  readonly tableB: Tensor<D>;
}

/**
 * Frames of the speech codec from their codes:
 * `y[t] = [semanticTable[s_t] | Σ_q tableA[q, code / n] | Σ_q tableB[q, code mod n]]` (LongCat-Audio-Codec, published
 * code). Sums in f32, in order of q.
 *
 * @returns `[T, S + A + B]` of the tables' dtype
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH`, `DISPOSED`; `INDEX_OUT_OF_RANGE` when the result is
 *   read and a code was outside its table
 */
export function codecEmbedding<D extends Activations>(args: CodecEmbeddingArguments<D>): Tensor<D> {
  return call("codecEmbedding", {}, args)[0] as Tensor<D>;
}

/** A convolution weight, plain or rearranged by `packConv1d` or `packConvTranspose1d`. */
export type ConvWeight<D extends Activations = Activations> = Weight<D, readonly [number, number, number]>;

/** Zero rows before and after the sequence; `"causal"` puts all `(k-1)·dilation` before it, `"symmetric"` half. */
export type ConvPadding = "causal" | "symmetric" | readonly [left: number, right: number];

export interface Conv1dGeometry {
  /** Rows from one tap to the next; default 1. */
  readonly dilation?: number;
  /** Groups of channels that are convolved apart; default 1. With Cin = Cout = groups the convolution is depthwise. */
  readonly groups?: number;
  /** Rows of x from one output row to the next; default 1. */
  readonly stride?: number;
  /** Default `"causal"`. */
  readonly padding?: ConvPadding;
  /** `[Cout]` */
  readonly bias?: Tensor<Activations> | undefined;
  readonly activation?: Activation;
  /** `[Cout]`, the α of `snake`, which is then the activation. */
  readonly snake?: Tensor<Activations> | undefined;
}

/** @internal */
export const conv1dGeometryNames = {
  dilation: true,
  groups: true,
  stride: true,
  padding: true,
  bias: true,
  activation: true,
  snake: true,
} as const;

export interface Conv1dOptions<D extends Activations = Activations> extends Conv1dGeometry {
  /** `[T', Cout]`, added last. */
  readonly residual?: Tensor<D> | undefined;
  /**
   * Streaming: the last `(k-1)·dilation` rows of x, `[…, Cin]` of x's dtype, zeros at the start, moved on in place. It
   * stands in place of the left padding; a right padding ends the stream. `Conv1dStream` also looks ahead and strides.
   */
  readonly state?: Tensor<D> | undefined;
}

const conv1dOptionNames = { ...conv1dGeometryNames, residual: true, state: true } as const;

/**
 * Rearranges a convolution weight for the backend's matrix kernels; do it once, at load. `conv1d` gives the same bits
 * with the plain weight, only slower.
 *
 * @param w `[Cout, Cin/groups, k]`, f32 or bf16; not depthwise, which `conv1d` takes plain
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT`
 */
export function packConv1d<D extends Activations>(w: Tensor<D>, options: { groups?: number } = {}): ConvWeight<D> {
  checkOptionNames("ops.packConv1d", options, { groups: true });
  return callPacked("packConv1d", { w, groups: options.groups }) as ConvWeight<D>;
}

/** @internal Zero rows on either side of a convolution whose taps span `span` rows beyond the first. */
export function paddingRows(padding: ConvPadding, span: number): readonly [left: number, right: number] {
  if (padding === "causal") return [span, 0];
  if (padding === "symmetric") return [Math.floor(span / 2), Math.ceil(span / 2)];
  return padding;
}

/**
 * Convolution over time,
 * `y[t, o] = residual[t, o] + act(bias[o] + Σ_j Σ_c w[o, c, j] · x[t·stride + j·dilation - left, c])`; x is zero beyond
 * its ends. Sums in f32 in one order: streaming gives the bits of the whole. All is f32 before y is rounded, with `snake`
 * too, where f32 rows get the bits of the two operations.
 *
 * @param x `[T, Cin]` f32 or bf16
 * @param w `[Cout, Cin/groups, k]` f32 or bf16, plain or from `packConv1d` with the same groups
 * @returns `[T', Cout]` of x's dtype, `T' = floor((T + left + right - (k-1)·dilation - 1) / stride) + 1`, or 0
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT`, `DEVICE_MISMATCH`, `DISPOSED`
 */
export function conv1d<D extends Activations>(x: Tensor<D>, w: ConvWeight, options: Conv1dOptions<D> = {}): Tensor<D> {
  checkOptionNames("ops.conv1d", options, conv1dOptionNames);
  const { padding = "causal", ...rest } = options;
  const span = ((w.shape[2] ?? 1) - 1) * (options.dilation ?? 1);
  const [left, padRight] = paddingRows(padding, span);
  return call("conv1d", { x, w, padLeft: options.state ? 0 : left, padRight }, rest)[0] as Tensor<D>;
}

export interface ConvTranspose1dGeometry {
  /** Output rows from one input row to the next. */
  readonly stride: number;
  /** Rows cut off at both ends; default 0. */
  readonly padding?: number;
  /** Rows appended at the end, fewer than the stride; default 0. */
  readonly outputPadding?: number;
  /** `[Cout]` */
  readonly bias?: Tensor<Activations> | undefined;
}

export interface ConvTranspose1dOptions extends ConvTranspose1dGeometry {
  /**
   * Streaming: f32 `[max(k - stride, 0), Cout]`, the sums that later rows still add to; zeros at the start, moved on in
   * place. A call then gives `T·stride` rows, of which the first `padding` of the stream do not belong to the result.
   * `ConvTranspose1dStream` takes care of that.
   */
  readonly state?: Tensor<"f32"> | undefined;
  /** Ends a stream: the remaining `k - stride - padding + outputPadding` rows come out too. */
  readonly last?: boolean;
}

/**
 * `packConv1d` for `convTranspose1d`.
 *
 * @param w `[Cin, Cout, k]`, f32 or bf16
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`
 */
export function packConvTranspose1d<D extends Activations>(w: Tensor<D>): ConvWeight<D> {
  return callPacked("packConvTranspose1d", { w }) as ConvWeight<D>;
}

/**
 * Transposed convolution over time (PyTorch's `ConvTranspose1d`): row t of x adds `Σ_c w[c, o, j] · x[t, c]` to the
 * output rows `t·stride + j - padding`; then the bias is added. Sums in f32 in one order: streaming gives the bits of
 * the whole.
 *
 * @param x `[T, Cin]` f32 or bf16
 * @param w `[Cin, Cout, k]` f32 or bf16, plain or from `packConvTranspose1d`
 * @returns `[T', Cout]` of x's dtype, `T' = (T-1)·stride + k - 2·padding + outputPadding`, or 0
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT`, `DEVICE_MISMATCH`, `DISPOSED`
 */
export function convTranspose1d<D extends Activations>(
  x: Tensor<D>,
  w: ConvWeight,
  options: ConvTranspose1dOptions,
): Tensor<D> {
  return call("convTranspose1d", { x, w }, options)[0] as Tensor<D>;
}

export interface LstmParameters {
  /** `[4H, I]` and `[4H, H]`, f32 or bf16, plain or from `packWeight` (wHh then needs H to be a multiple of 16). */
  readonly wIh: Weight<Activations>;
  readonly wHh: Weight<Activations>;
  /** `[4H]` */
  readonly bIh?: Tensor<Activations> | undefined;
  readonly bHh?: Tensor<Activations> | undefined;
  /** `[H]` f32: the state, zeros at the start, moved on in place. */
  readonly h: Tensor<"f32">;
  readonly c: Tensor<"f32">;
}

/**
 * One layer of long short-term memory: `[i f g o] = x·wIhᵀ + bIh + bHh + h·wHhᵀ`, `c = σ(f)·c + σ(i)·tanh(g)`,
 * `y = h = σ(o)·tanh(c)` (gates in PyTorch's order). Gates and state are f32. A sequence may be cut anywhere: h and c
 * carry it on, with the bits of the whole.
 *
 * @param x `[T, I]` f32 or bf16
 * @returns `[T, H]` of x's dtype
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT`, `DEVICE_MISMATCH`, `DISPOSED`
 */
export function lstm<D extends Activations>(x: Tensor<D>, parameters: LstmParameters): Tensor<D> {
  return call("lstm", { x }, parameters)[0] as Tensor<D>;
}

/**
 * The weight that a weight-normed layer applies, `g · v / ‖v‖` with the norm over all dimensions but the first: the
 * form that PyTorch's `weight_norm` stores as `weight_v` and `weight_g`. Do it once, at load; pages of a memory-mapped
 * v are given back.
 *
 * @param v `[N, …]` f32
 * @param g f32, one number for each of the N rows
 * @returns f32 of v's shape; a row of zeros, which has no direction, gives NaN
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH`, `DISPOSED`
 */
export function foldWeightNorm<S extends Shape>(v: Tensor<"f32", S>, g: Tensor<"f32">): Tensor<"f32", S> {
  return call("foldWeightNorm", { v, g })[0] as Tensor<"f32", S>;
}
