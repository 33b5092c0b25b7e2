import type { Shape, Tensor } from "../tensor/tensor.js";
import { type Activations, call } from "./call.js";
import type { Activation } from "./linear.js";
import type { If, Last, Matches, ShapeText, WithLast } from "./shapes.js";

/** The second operand: it has the first one's shape, or is `[C]` for an `a` of `[..., C]`. */
export type BinaryOperand<B extends Shape, S extends Shape> = Tensor<Activations, B> &
  If<
    Matches<B, S> | Matches<B, readonly [Last<S>]>,
    `the shape must be ${ShapeText<S>} or ${ShapeText<readonly [Last<S>]>}, not ${ShapeText<B>}`
  >;

/**
 * `a + b`, element by element, in f32.
 *
 * @param a `[..., C]`, f32 or bf16
 * @param b of a's shape, or `[C]`, which is added to every row; f32 or bf16
 * @returns a's shape and dtype
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors
 */
export function add<D extends Activations, S extends Shape, B extends Shape>(
  a: Tensor<D, S>,
  b: BinaryOperand<B, S>,
): Tensor<D, S> {
  return call("add", { a, b })[0] as Tensor<D, S>;
}

/**
 * `a ⊙ b`, element by element, in f32. With b `[C]` this is LayerScale.
 *
 * @param a `[..., C]`, f32 or bf16
 * @param b of a's shape, or `[C]`, which multiplies every row; f32 or bf16
 * @returns a's shape and dtype
 * @throws {CaracalError} as `add`
 */
export function mul<D extends Activations, S extends Shape, B extends Shape>(
  a: Tensor<D, S>,
  b: BinaryOperand<B, S>,
): Tensor<D, S> {
  return call("mul", { a, b })[0] as Tensor<D, S>;
}

/**
 * Applies an activation function to every element, in f32.
 *
 * @param x f32 or bf16
 * @param kind the function; `gelu` is the exact erf form
 * @returns x's shape and dtype
 * @throws {CaracalError} `DTYPE_MISMATCH` or `DISPOSED` for an unsuitable tensor, `INVALID_ARGUMENT` for an unknown kind
 */
export function activation<D extends Activations, S extends Shape>(x: Tensor<D, S>, kind: Activation): Tensor<D, S> {
  return call("activation", { x, kind })[0] as Tensor<D, S>;
}

/** The bounds of `clamp`. */
export interface ClampOptions {
  /** Default −∞. */
  readonly low?: number | undefined;
  /** Default ∞. */
  readonly high?: number | undefined;
}

/**
 * `min(max(x, low), high)`, element by element, in f32. NaN stays NaN.
 *
 * @param x f32 or bf16
 * @returns x's shape and dtype
 * @throws {CaracalError} `DTYPE_MISMATCH` or `DISPOSED` for an unsuitable tensor, `INVALID_ARGUMENT` when `low` is above
 *   `high`, a bound is NaN, or an option is unknown
 */
export function clamp<D extends Activations, S extends Shape>(
  x: Tensor<D, S>,
  options: ClampOptions = {},
): Tensor<D, S> {
  return call("clamp", { x }, options)[0] as Tensor<D, S>;
}

/**
 * The magnitudes of complex numbers, `y[c] = sqrt(x[c]² + x[C + c]²)` in f32: the first half of the last dimension holds
 * their real parts, the second half the imaginary ones, as a Fourier transform by products gives them. Numbers above 10¹⁹
 * overflow to infinity.
 *
 * @param x `[..., 2C]`, f32 or bf16
 * @returns `[..., C]` of x's dtype
 * @throws {CaracalError} `SHAPE_MISMATCH` for an odd number of columns, or a scalar, `DTYPE_MISMATCH` or `DISPOSED` for an
 *   unsuitable tensor
 */
export function magnitude<D extends Activations, S extends Shape>(x: Tensor<D, S>): Tensor<D, WithLast<S, number>> {
  return call("magnitude", { x })[0] as Tensor<D, WithLast<S, number>>;
}
