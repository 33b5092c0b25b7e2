import { type Activation, activations } from "../native/operations.js";
import { checkedList, checkObject, checkOptionNames } from "../options.js";
import type { PackedWeight } from "../tensor/packedWeight.js";
import { disposeAll, type Shape, Tensor } from "../tensor/tensor.js";
import { type Activations, call, callPacked, type StoredDType, type Weight, type WeightDType } from "./call.js";
import { cast } from "./rows.js";
import type { If, Last, Ranked, Shaped, WithLast } from "./shapes.js";

export { type Activation, activations, type Last, type WithLast };

/** The dtypes of the scales and biases of codes. */
export type ScaleDType = "f32" | "bf16" | "f16";
/** The bits of a code. */
export type CodeBits = 2 | 3 | 4 | 5 | 6 | 8;
/** The dtype that codes are packed to. */
export type CodesOf<B extends CodeBits> = B extends 2 | 3 | 4 ? "q4" : "q8";

/**
 * How codes become weights: weight = scale · code + bias. A scale or bias that is NaN or infinite is no error: all products
 * with its row of the matrix are NaN or infinite, and no others.
 */
export interface AffineScale<B extends CodeBits = CodeBits> {
  readonly bits: B;
  /** `[N, K/group]`: one for each 32, 64 or 128 elements of a row. */
  readonly scale: Tensor<ScaleDType>;
  /** Of scale's shape and dtype. Default: −2^(bits−1) · scale, so that codes count from the middle of their range. */
  readonly bias?: Tensor<ScaleDType> | undefined;
}

/**
 * Rearranges a weight matrix for the matrix kernels of the backend. Do this once, when loading. The pages of a mapped
 * file are released as they are packed.
 *
 * @param w `[N, K]`, f32, bf16 or f8e4m3; or u8 `[N, K·bits/8]`: unsigned codes, each row one little-endian stream of
 *   bits, as MLX stores them
 * @param options `scale` is f32 `[ceil(N/128), ceil(K/128)]` for f8e4m3: weight = stored value · scale of its 128×128
 *   block. For codes see {@link AffineScale}; K is a multiple of their group
 * @returns `[N, K]` of w's dtype, or `q4` or `q8` for codes of up to 4 and up to 8 bits
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` when f8e4m3 comes without a scale, codes without a scale or their bits, or an option is unknown.
 *   When the result is used: `INVALID_ARGUMENT` for an f8e4m3 weight that is NaN
 */
export function packWeight<B extends CodeBits>(
  w: Tensor<"u8", readonly [number, number]>,
  options: AffineScale<B>,
): PackedWeight<CodesOf<B>, readonly [number, number]>;
export function packWeight<D extends Activations, S extends Shape>(
  w: Tensor<D, S> & Ranked<S, 2>,
  options?: { scale?: undefined },
): PackedWeight<D, S>;
export function packWeight<D extends StoredDType, S extends Shape>(
  w: Tensor<D, S> & Ranked<S, 2>,
  options: { scale: Tensor<"f32"> | undefined },
): PackedWeight<D, S>;
export function packWeight<D extends StoredDType, S extends Shape>(
  w: Tensor<D, S> & Ranked<S, 2> & If<[D] extends ["f8e4m3"] ? false : true, "an f8e4m3 weight needs { scale }">,
  options?: { scale?: undefined },
): PackedWeight<D, S>;
export function packWeight(w: Tensor, options: Partial<AffineScale> = {}): PackedWeight {
  checkObject("ops.packWeight", "options", options);
  const { scale } = options;
  if (options.bias !== undefined || !isF16(scale)) return callPacked("packWeight", { w }, options) as PackedWeight;
  using wide = cast(scale, "f32");
  return callPacked("packWeight", { w }, { ...options, scale: wide }) as PackedWeight;
}

/** f16 scales without biases become f32: the default biases are up to 128 times as large, which f16 may not hold. */
const isF16 = (scale: unknown): scale is Tensor<"f16"> => scale instanceof Tensor && scale.dtype === "f16";

/** {@link AffineScale} of several matrices: `scales` and `biases` have one tensor for each. */
export interface AffineScales<B extends CodeBits = CodeBits> {
  readonly bits: B;
  readonly scales: readonly Tensor<ScaleDType>[];
  readonly biases?: readonly Tensor<ScaleDType>[] | undefined;
}

/**
 * Packs the matrices of E experts into one grouped weight.
 *
 * @param weights E tensors as for `packWeight`, of the same shape and dtype, or a single one that stacks them, `[E, ...]`
 * @param options `scales` has one tensor per element of `weights`, stacked exactly if they are: for f8e4m3 f32
 *   `[ceil(N/128), ceil(K/128)]`, for codes see {@link AffineScales}
 * @returns `[E, N, K]` of the weights' dtype, or `q4` or `q8` for codes
 * @throws {CaracalError} as `packWeight`
 */
export function packWeights<B extends CodeBits>(
  weights: readonly Tensor<"u8", readonly [number, number] | readonly [number, number, number]>[],
  options: AffineScales<B>,
): PackedWeight<CodesOf<B>, readonly [number, number, number], "experts">;
export function packWeights<D extends StoredDType, S extends Shape>(
  weights: readonly (Tensor<D, S> & Ranked<S, 2 | 3>)[],
  options?: { scales?: readonly Tensor<"f32">[] | undefined },
): PackedWeight<D, Stacked<S>, "experts">;
export function packWeights(
  weights: readonly Tensor[],
  options: Partial<AffineScales> = {},
): PackedWeight<WeightDType, readonly [number, number, number], "experts"> {
  checkOptionNames("ops.packWeights", options, { scales: true, biases: true, bits: true });
  const pack = (scales: AffineScales["scales"] | undefined) =>
    callPacked("packWeights", { weights }, { ...options, scales }) as PackedWeight<
      WeightDType,
      readonly [number, number, number],
      "experts"
    >;
  const { scales, biases } = options;
  if (biases !== undefined || !Array.isArray(scales)) return pack(scales);
  const list = checkedList<Tensor<ScaleDType>>("ops.packWeights", "scales", scales);
  if (!list.every(isF16)) return pack(list);
  const wide = list.map((scale) => cast(scale, "f32"));
  try {
    return pack(wide);
  } finally {
    disposeAll(wide);
  }
}

/** The shape of a list of matrices `[N, K]`, or of a single `[E, N, K]`. */
export type Stacked<S extends Shape> = S extends readonly [infer N extends number, infer K extends number]
  ? readonly [number, N, K]
  : S extends readonly [number, number, number]
    ? S
    : readonly [number, number, number];

/** An option of products with `q4` and `q8` weights. */
export interface RowOptions {
  /**
   * Whether rows may be rounded to 8-bit integers, with one scale for each group of the weight, where that is faster: on
   * CPUs with AVX2. It changes results by about half a percent of their norm; a row's bits still depend on it alone.
   * Other weights, and other devices such as CUDA, ignore it: not a bit changes. Default: false.
   */
  readonly int8Rows?: boolean | undefined;
}

/** What `linear` does to the product. */
export interface LinearOptions<Out extends Activations> extends RowOptions {
  /** `[N]` */
  readonly bias?: Tensor<Activations> | undefined;
  readonly activation?: Activation | undefined;
  /** LayerScale, `[N]`, which multiplies the activated value. */
  readonly layerScale?: Tensor<Activations> | undefined;
  /** Added last, `[..., N]`. */
  readonly residual?: Tensor<Out> | undefined;
  /** The dtype of the result. Default: x's. */
  readonly outDtype?: Out | undefined;
}

/**
 * `y = residual + layerScale ⊙ act(x·Wᵀ + bias)`, accumulated in f32 in a fixed order: the bits of a row depend neither
 * on the other rows nor on the number of threads.
 *
 * @param x `[..., K]`, f32 or bf16
 * @param w `[N, K]`, packed, or plain f32 or bf16. With packed codes, the sums of a group are scaled as they are added
 * @returns `[..., N]` of `outDtype`
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` when w is a plain f8e4m3 or an option is unknown
 */
export function linear<
  D extends Activations,
  S extends Shape,
  W extends Shape,
  Out extends Activations = D,
  B extends Shape = Shape,
  R extends Shape = Shape,
>(
  x: Tensor<D, S>,
  w: Weight<WeightDType, W> & Shaped<W, readonly [number, Last<S>]>,
  options: LinearOptions<Out> & {
    readonly bias?: (Tensor<Activations, B> & Shaped<B, readonly [W[0]]>) | undefined;
    readonly residual?: (Tensor<Out, R> & Shaped<R, WithLast<S, W[0]>>) | undefined;
  } = {},
): Tensor<Out, WithLast<S, W[0]>> {
  return call("linear", { x, w }, options)[0] as Tensor<Out, WithLast<S, W[0]>>;
}

/**
 * `silu(x·Wgᵀ + bg) ⊙ (x·Wuᵀ + bu)`, the gated half of a SwiGLU feed-forward network.
 *
 * @param x `[..., K]`, f32 or bf16
 * @param gate `[N, K]`, packed or plain, as for `linear`
 * @param up `[N, K]` of gate's dtype, packed exactly if gate is
 * @param options `gateBias` and `upBias` are `[N]`; `int8Rows` as for `linear`
 * @returns `[..., N]` of x's dtype
 * @throws {CaracalError} as `linear`; `INVALID_ARGUMENT` when only one of the weights is packed
 */
export function swiglu<D extends Activations, S extends Shape, G extends Shape, U extends Shape>(
  x: Tensor<D, S>,
  gate: Weight<WeightDType, G> & Shaped<G, readonly [number, Last<S>]>,
  up: Weight<WeightDType, U> & Shaped<U, G>,
  options: RowOptions & { gateBias?: Tensor<Activations> | undefined; upBias?: Tensor<Activations> | undefined } = {},
): Tensor<D, WithLast<S, G[0]>> {
  return call("swiglu", { x, gate, up }, options)[0] as Tensor<D, WithLast<S, G[0]>>;
}
