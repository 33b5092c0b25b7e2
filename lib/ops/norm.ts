import type { Shape, Tensor } from "../tensor/tensor.js";
import { type Activations, call } from "./call.js";

/**
 * Root-mean-square normalisation, `y = weight ⊙ x / sqrt(mean(x²) + eps)` over the last dimension; statistics in f32.
 *
 * @param x `[..., C]`, f32 or bf16
 * @param weight `[C]`, f32 or bf16
 * @param options `eps` (default 1e-6)
 * @returns `[..., C]` of x's dtype
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH`, `DISPOSED`
 */
export function rmsNorm<D extends Activations, S extends Shape>(
  x: Tensor<D, S>,
  weight: Tensor<Activations>,
  options: { eps?: number } = {},
): Tensor<D, S> {
  return call("rmsNorm", { x, weight, eps: options.eps })[0] as Tensor<D, S>;
}
