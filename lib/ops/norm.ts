import type { Shape, Tensor } from "../tensor/tensor.js";
import { type Activations, call } from "./call.js";
import type { Activation, Last } from "./linear.js";
import type { If, Matches } from "./shapes.js";

/** `[C]` for an x of `[..., C]`. */
export type PerColumn<W extends Shape, S extends Shape> = Tensor<Activations, W> & If<Matches<W, readonly [Last<S>]>>;

/**
 * Root-mean-square normalisation, `y = weight ⊙ x / sqrt(mean(x²) + eps)` over the last dimension; statistics in f32.
 * The normalised value is rounded to x's dtype before it meets the weight, as in the published code.
 *
 * @param x `[..., C]`, f32 or bf16
 * @param weight `[C]`, f32 or bf16
 * @param options `eps` (default 1e-6)
 * @returns `[..., C]` of x's dtype
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH`, `DISPOSED`
 */
export function rmsNorm<D extends Activations, S extends Shape, W extends Shape>(
  x: Tensor<D, S>,
  weight: PerColumn<W, S>,
  options: { eps?: number | undefined } = {},
): Tensor<D, S> {
  return call("rmsNorm", { x, weight, eps: options.eps })[0] as Tensor<D, S>;
}

/**
 * A residual connection and the normalisation that follows it, in one pass: `h = x + residual` (rounded to x's dtype),
 * `y = rmsNorm(h)`.
 *
 * @param x `[..., C]`, f32 or bf16
 * @param residual of x's shape and dtype
 * @param weight `[C]`, f32 or bf16
 * @param options `eps` (default 1e-6)
 * @returns `y`, and `residual`: h, the next residual; both of x's shape and dtype
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH`, `DISPOSED`
 */
export function addRmsNorm<D extends Activations, S extends Shape, R extends Shape, W extends Shape>(
  x: Tensor<D, S>,
  residual: Tensor<NoInfer<D>, R> & If<Matches<R, S>>,
  weight: PerColumn<W, S>,
  options: { eps?: number | undefined } = {},
): { y: Tensor<D, S>; residual: Tensor<D, S> } {
  const [y, h] = call("rmsNorm", { x, residual, weight, eps: options.eps }) as [Tensor<D, S>, Tensor<D, S>];
  return { y, residual: h };
}

/**
 * Layer normalisation, `y = weight ⊙ (x − mean(x)) / sqrt(var(x) + eps) + bias` over the last dimension, with the
 * biased variance; statistics in f32.
 *
 * @param x `[..., C]`, f32 or bf16
 * @param weight `[C]`, f32 or bf16
 * @param bias `[C]`, of weight's dtype, or none
 * @param options `eps` (default 1e-5)
 * @returns `[..., C]` of x's dtype
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH`, `DISPOSED`
 */
export function layerNorm<D extends Activations, S extends Shape, W extends Shape, B extends Shape>(
  x: Tensor<D, S>,
  weight: PerColumn<W, S>,
  bias?: PerColumn<B, S> | undefined,
  options: { eps?: number | undefined } = {},
): Tensor<D, S> {
  return call("layerNorm", { x, weight, bias, eps: options.eps })[0] as Tensor<D, S>;
}

/**
 * `a + b`, element by element, in f32.
 *
 * @param a `[..., C]`, f32 or bf16
 * @param b of a's shape, or `[C]`, added to every row; f32 or bf16
 * @returns a's shape and dtype
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH`, `DISPOSED`
 */
export function add<D extends Activations, S extends Shape, B extends Shape>(
  a: Tensor<D, S>,
  b: Tensor<Activations, B> & If<Matches<B, S> | Matches<B, readonly [Last<S>]>>,
): Tensor<D, S> {
  return call("binary", { kind: "add", a, b })[0] as Tensor<D, S>;
}

/**
 * `a ⊙ b`, element by element, in f32. With b `[C]` this is LayerScale.
 *
 * @param a `[..., C]`, f32 or bf16
 * @param b of a's shape, or `[C]`, applied to every row; f32 or bf16
 * @returns a's shape and dtype
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH`, `DISPOSED`
 */
export function mul<D extends Activations, S extends Shape, B extends Shape>(
  a: Tensor<D, S>,
  b: Tensor<Activations, B> & If<Matches<B, S> | Matches<B, readonly [Last<S>]>>,
): Tensor<D, S> {
  return call("binary", { kind: "mul", a, b })[0] as Tensor<D, S>;
}

/**
 * Applies an activation function to every element, in f32.
 *
 * @param x f32 or bf16
 * @param kind which; `gelu` is the exact erf form
 * @returns x's shape and dtype
 * @throws `DTYPE_MISMATCH`, `INVALID_ARGUMENT`, `DISPOSED`
 */
export function activation<D extends Activations, S extends Shape>(x: Tensor<D, S>, kind: Activation): Tensor<D, S> {
  return call("activation", { x, kind })[0] as Tensor<D, S>;
}
