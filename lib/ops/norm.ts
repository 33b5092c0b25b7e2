import type { Shape, Tensor } from "../tensor/tensor.js";
import { type Activations, call } from "./call.js";
import type { Last, Shaped } from "./shapes.js";

/** `[C]` for an x of `[..., C]`. */
export type PerColumn<W extends Shape, S extends Shape> = Tensor<Activations, W> & Shaped<W, readonly [Last<S>]>;

/** Options of the norms. */
export interface NormOptions {
  /** Added to the mean square or variance. Default: 1e-6 for `rmsNorm` and `addRmsNorm`, 1e-5 for `layerNorm`. */
  readonly eps?: number | undefined;
}

/**
 * Root-mean-square normalisation, `y = weight ⊙ x / sqrt(mean(x²) + eps)` over the last dimension, with statistics in
 * f32. As in the published code, the normalised value is rounded to x's dtype before the multiplication by the weight.
 *
 * @param x `[..., C]`, f32 or bf16
 * @param weight `[C]`, f32 or bf16
 * @returns `[..., C]` of x's dtype
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` when eps is not positive or an option is unknown
 */
export function rmsNorm<D extends Activations, S extends Shape, W extends Shape>(
  x: Tensor<D, S>,
  weight: PerColumn<W, S>,
  options: NormOptions = {},
): Tensor<D, S> {
  return call("rmsNorm", { x, weight }, options)[0] as Tensor<D, S>;
}

/**
 * A residual connection and the normalisation after it, in one pass: `h = x + residual` (rounded to x's dtype),
 * `y = rmsNorm(h)`.
 *
 * @param x `[..., C]`, f32 or bf16
 * @param residual of x's shape and dtype
 * @param weight `[C]`, f32 or bf16
 * @returns `y`, and as `residual` h, the next residual; both of x's shape and dtype
 * @throws {CaracalError} as `rmsNorm`
 */
export function addRmsNorm<D extends Activations, S extends Shape, R extends Shape, W extends Shape>(
  x: Tensor<D, S>,
  residual: Tensor<NoInfer<D>, R> & Shaped<R, S>,
  weight: PerColumn<W, S>,
  options: NormOptions = {},
): { y: Tensor<D, S>; residual: Tensor<D, S> } {
  const [y, h] = call("addRmsNorm", { x, residual, weight }, options) as [Tensor<D, S>, Tensor<D, S>];
  return { y, residual: h };
}

/**
 * Layer normalisation, `y = weight ⊙ (x − mean(x)) / sqrt(var(x) + eps) + bias` over the last dimension, with the
 * biased variance and statistics in f32.
 *
 * @param x `[..., C]`, f32 or bf16
 * @param weight `[C]`, f32 or bf16
 * @param bias `[C]`, of weight's dtype, or none
 * @returns `[..., C]` of x's dtype
 * @throws {CaracalError} as `rmsNorm`
 */
export function layerNorm<D extends Activations, S extends Shape, W extends Shape, B extends Shape>(
  x: Tensor<D, S>,
  weight: PerColumn<W, S>,
  bias?: PerColumn<B, S> | undefined,
  options: NormOptions = {},
): Tensor<D, S> {
  return call("layerNorm", { x, weight, bias }, options)[0] as Tensor<D, S>;
}
