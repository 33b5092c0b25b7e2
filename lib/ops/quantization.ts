import type { Tensor } from "../tensor/tensor.js";
import { type Activations, call } from "./call.js";
import type { CodeBits } from "./linear.js";

/** The columns that share a scale and a bias in the affine format. */
export type AffineGroup = 32 | 64 | 128;

/**
 * A matrix `[N, K]` in the affine format, as MLX stores it: weight = scale · q + bias, with an unsigned code q of `bits`
 * bits, and a scale and bias for each row and group of columns. The codes of a row are one little-endian stream of bits.
 */
export interface AffineMatrix<D extends Activations = Activations, N extends number = number> {
  /** `[N, K · bits / 8]`: MLX's words of 32 bits, as bytes. */
  readonly codes: Tensor<"u8", readonly [N, number]>;
  /** `[N, K / group]` */
  readonly scale: Tensor<D, readonly [N, number]>;
  /** `[N, K / group]` */
  readonly bias: Tensor<D, readonly [N, number]>;
}

/** A matrix `[N, K]` in FP8 as published: weight = code · scale of its block of 128×128. */
export interface Fp8Matrix<N extends number = number, K extends number = number> {
  /** `[N, K]` */
  readonly codes: Tensor<"f8e4m3", readonly [N, K]>;
  /** `[ceil(N/128), ceil(K/128)]` */
  readonly scale: Tensor<"f32", readonly [number, number]>;
}

/**
 * Quantises a matrix to the affine format, by the definition of MLX's `quantize` in its mode "affine". In every group,
 * the end of its range that is larger in magnitude is exact, and so is 0, up to the rounding of scale and bias.
 *
 * @param w `[N, K]`, f32 or bf16; K is a multiple of `group`
 * @param options `bits` of a code, and `group`: the columns that share a scale and a bias
 * @returns `codes` u8 `[N, K·bits/8]`; `scale` and `bias` `[N, K/group]` of w's dtype
 * @throws {CaracalError} `SHAPE_MISMATCH` when K is no multiple of the group, `DTYPE_MISMATCH`, `DISPOSED`,
 *   `INVALID_ARGUMENT` for other bits or groups, or when an option is unknown. When a result is used:
 *   `INVALID_ARGUMENT` for a weight that is NaN, infinite or beyond 2^126
 */
export function quantizeAffine<D extends Activations, N extends number, K extends number>(
  w: Tensor<D, readonly [N, K]>,
  options: { readonly bits: CodeBits; readonly group: AffineGroup },
): AffineMatrix<D, N> {
  const [codes, scale, bias] = call("quantizeAffine", { w }, options);
  return { codes, scale, bias } as object as AffineMatrix<D, N>;
}

/** Options of `dequantizeAffine`. */
export interface DequantizeAffineOptions<Out extends Activations> {
  readonly bits: CodeBits;
  /** `[N, K / group]`, f32, f16 or bf16. The group is 32, 64 or 128. */
  readonly scale: Tensor<"f32" | "f16" | "bf16">;
  /** Of scale's shape and dtype. Without it, weight = scale · (q − 2^(bits−1)). */
  readonly bias?: Tensor<"f32" | "f16" | "bf16"> | undefined;
  /** Default f32. */
  readonly outDtype?: Out | undefined;
}

/**
 * The weights of a matrix in the affine format, `scale · q + bias`, in f32 and then rounded to `outDtype`.
 *
 * @param codes u8 `[N, K·bits/8]`, as `quantizeAffine` makes them
 * @returns `[N, K]` of `outDtype`
 * @throws {CaracalError} `SHAPE_MISMATCH` when the scales do not fit, `DTYPE_MISMATCH`, `DEVICE_MISMATCH`, `DISPOSED`,
 *   `INVALID_ARGUMENT` for other bits or when an option is unknown
 */
export function dequantizeAffine<N extends number, Out extends Activations = "f32">(
  codes: Tensor<"u8", readonly [N, number]>,
  options: DequantizeAffineOptions<Out>,
): Tensor<Out, readonly [N, number]> {
  return call("dequantizeAffine", { codes }, options)[0] as Tensor<Out, readonly [N, number]>;
}

/**
 * Quantises a matrix to f8e4m3 in blocks of 128×128, as FP8 checkpoints are published: the largest magnitude of a block
 * becomes 448, and the others are rounded to nearest even. A block of zeros has the scale 1. `packWeight` takes the result.
 *
 * @param w `[N, K]`, f32 or bf16
 * @returns `codes` f8e4m3 `[N, K]`; `scale` f32 `[ceil(N/128), ceil(K/128)]`
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH` or `DISPOSED` for unsuitable tensors. When a result is used:
 *   `INVALID_ARGUMENT` for a weight that is NaN, infinite or beyond 2^126
 */
export function quantizeFp8<N extends number, K extends number>(
  w: Tensor<Activations, readonly [N, K]>,
): Fp8Matrix<N, K> {
  const [codes, scale] = call("quantizeFp8", { w });
  return { codes, scale } as object as Fp8Matrix<N, K>;
}

/**
 * The weights of an FP8 matrix, `code · scale`, in f32 and then rounded to `outDtype`. NaN stays NaN.
 *
 * @param codes f8e4m3 `[N, K]`
 * @param options `scale` is f32 `[ceil(N/128), ceil(K/128)]`; `outDtype` is f32 by default
 * @returns `[N, K]` of `outDtype`
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` when an option is unknown
 */
export function dequantizeFp8<N extends number, K extends number, Out extends Activations = "f32">(
  codes: Tensor<"f8e4m3", readonly [N, K]>,
  options: { readonly scale: Tensor<"f32">; readonly outDtype?: Out | undefined },
): Tensor<Out, readonly [N, K]> {
  return call("dequantizeFp8", { codes }, options)[0] as Tensor<Out, readonly [N, K]>;
}
