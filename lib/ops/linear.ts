import { type Activation, activations } from "../native/operations.js";
import { checkOptionNames } from "../options.js";
import type { DType } from "../tensor/dtype.js";
import type { PackedWeight, Shape, Tensor } from "../tensor/tensor.js";
import { type Activations, call, callPacked, type Weight, type WeightDType } from "./call.js";

export { type Activation, activations };

/** `[..., K]` with its last dimension replaced by `N`. */
export type WithLast<S extends Shape, N extends number> = S extends readonly [...infer Lead extends number[], number]
  ? readonly [...Lead, N]
  : Shape;
/** The last dimension of a shape. */
export type Last<S extends Shape> = S extends readonly [...number[], infer L extends number] ? L : number;

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
export function packWeight<D extends WeightDType, S extends readonly [number, number]>(
  w: Tensor<D, S>,
  options: { scale?: Tensor<"f32"> | undefined } = {},
): PackedWeight<D, S> {
  checkOptionNames("ops.packWeight", options, { scale: true });
  const scales = options.scale ? [options.scale] : [];
  return callPacked("packWeight", { weights: [w], scales }) as PackedWeight<D, S>;
}

/**
 * Packs the matrices of E experts into one grouped weight.
 *
 * @param weights E tensors `[N, K]` of the same shape and dtype, or a single `[E, N, K]`
 * @param options `scales` has one f32 `[ceil(N/128), ceil(K/128)]` per matrix, for f8e4m3 only
 * @returns `[E, N, K]` of the weights' dtype
 * @throws {CaracalError} as `packWeight`
 */
export function packWeights<D extends WeightDType>(
  weights: readonly Tensor<D>[],
  options: { scales?: readonly Tensor<"f32">[] | undefined } = {},
): PackedWeight<D, readonly [number, number, number]> {
  checkOptionNames("ops.packWeights", options, { scales: true });
  const scales = options.scales ?? [];
  return callPacked("packWeight", { weights, scales, stack: true }) as PackedWeight<
    D,
    readonly [number, number, number]
  >;
}

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
  N extends number,
  K extends Last<S>,
  Out extends Activations = D,
>(
  x: Tensor<D, S>,
  w: Weight<WeightDType, readonly [N, K]>,
  options: LinearOptions<Out> = {},
): Tensor<Out, WithLast<S, N>> {
  return call("linear", { x, w }, options)[0] as Tensor<DType> as Tensor<Out, WithLast<S, N>>;
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
export function swiglu<D extends Activations, S extends Shape, N extends number, K extends Last<S>>(
  x: Tensor<D, S>,
  gate: Weight<WeightDType, readonly [N, K]>,
  up: Weight<WeightDType, readonly [N, K]>,
  options: { gateBias?: Tensor<Activations> | undefined; upBias?: Tensor<Activations> | undefined } = {},
): Tensor<D, WithLast<S, N>> {
  return call("swiglu", { x, gate, up }, options)[0] as Tensor<DType> as Tensor<D, WithLast<S, N>>;
}
