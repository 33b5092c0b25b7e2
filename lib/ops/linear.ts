import { type Activation, activations } from "../native/operations.js";
import { checkOptionNames } from "../options.js";
import type { PackedWeight } from "../tensor/packedWeight.js";
import type { Shape, Tensor } from "../tensor/tensor.js";
import { type Activations, call, callPacked, type Weight, type WeightDType } from "./call.js";
import type { If, Last, Ranked, Shaped, WithLast } from "./shapes.js";

export { type Activation, activations, type Last, type WithLast };

/**
 * Rearranges a weight matrix for the matrix kernels of the backend. Do this once, when loading. The pages of a mapped
 * file are released as they are packed.
 *
 * @param w `[N, K]`, f32, bf16 or f8e4m3
 * @param options `scale` is f32 `[ceil(N/128), ceil(K/128)]`, for f8e4m3 only: weight = stored value · scale of its
 *   128×128 block
 * @returns `[N, K]` of w's dtype
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` when f8e4m3 comes without a scale or an option is unknown. When the result is used:
 *   `INVALID_ARGUMENT` for an f8e4m3 weight that is NaN
 */
export function packWeight<D extends Activations, S extends Shape>(
  w: Tensor<D, S> & Ranked<S, 2>,
  options?: { scale?: undefined },
): PackedWeight<D, S>;
export function packWeight<D extends WeightDType, S extends Shape>(
  w: Tensor<D, S> & Ranked<S, 2>,
  options: { scale: Tensor<"f32"> | undefined },
): PackedWeight<D, S>;
export function packWeight<D extends WeightDType, S extends Shape>(
  w: Tensor<D, S> & Ranked<S, 2> & If<[D] extends ["f8e4m3"] ? false : true, "an f8e4m3 weight needs { scale }">,
  options?: { scale?: undefined },
): PackedWeight<D, S>;
export function packWeight(w: Tensor, options: { scale?: Tensor | undefined } = {}): PackedWeight {
  return callPacked("packWeight", { w }, options) as PackedWeight;
}

/**
 * Packs the matrices of E experts into one grouped weight.
 *
 * @param weights E tensors `[N, K]` of the same shape and dtype, or a single `[E, N, K]`
 * @param options `scales` has one f32 `[ceil(N/128), ceil(K/128)]` per matrix, for f8e4m3 only
 * @returns `[E, N, K]` of the weights' dtype
 * @throws {CaracalError} as `packWeight`
 */
export function packWeights<D extends WeightDType, S extends Shape>(
  weights: readonly (Tensor<D, S> & Ranked<S, 2 | 3>)[],
  options: { scales?: readonly Tensor<"f32">[] | undefined } = {},
): PackedWeight<D, Stacked<S>, "experts"> {
  checkOptionNames("ops.packWeights", options, { scales: true });
  return callPacked("packWeights", { weights }, options) as PackedWeight<D, Stacked<S>, "experts">;
}

/** The shape of a list of matrices `[N, K]`, or of a single `[E, N, K]`. */
export type Stacked<S extends Shape> = S extends readonly [infer N extends number, infer K extends number]
  ? readonly [number, N, K]
  : S extends readonly [number, number, number]
    ? S
    : readonly [number, number, number];

/** What `linear` does to the product. */
export interface LinearOptions<Out extends Activations> {
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
 * @param w `[N, K]`, packed, or plain f32 or bf16
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
 * @param options `gateBias` and `upBias` are `[N]`
 * @returns `[..., N]` of x's dtype
 * @throws {CaracalError} as `linear`; `INVALID_ARGUMENT` when only one of the weights is packed
 */
export function swiglu<D extends Activations, S extends Shape, G extends Shape, U extends Shape>(
  x: Tensor<D, S>,
  gate: Weight<WeightDType, G> & Shaped<G, readonly [number, Last<S>]>,
  up: Weight<WeightDType, U> & Shaped<U, G>,
  options: { gateBias?: Tensor<Activations> | undefined; upBias?: Tensor<Activations> | undefined } = {},
): Tensor<D, WithLast<S, G[0]>> {
  return call("swiglu", { x, gate, up }, options)[0] as Tensor<D, WithLast<S, G[0]>>;
}
