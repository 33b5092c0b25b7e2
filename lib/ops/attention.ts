import type { Shape, Tensor } from "../tensor/tensor.js";
import { type Activations, call } from "./call.js";

export interface RopeOptions {
  /** Base of the frequencies. */
  readonly theta: number;
  /** Elements at the end of every head that turn, an even number; the whole head when left out. */
  readonly ropeDim?: number | undefined;
}

/**
 * Rotary position embedding over interleaved pairs: of the last `ropeDim` elements of every head, the pair
 * `(x[2i], x[2i+1])` turns by `position · theta^(-2i/ropeDim)` (LongCat-Flash's published code; transformers writes the
 * same numbers with even elements first). Angles are exact to f32 at any position.
 *
 * @param x `[T, H, D]`, f32 or bf16
 * @param positions i32 `[T]`
 * @returns `[T, H, D]` of x's dtype
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT` (odd `ropeDim`), `DEVICE_MISMATCH`, `DISPOSED`
 */
export function rope<D extends Activations, S extends Shape>(
  x: Tensor<D, S>,
  positions: Tensor<"i32">,
  options: RopeOptions,
): Tensor<D, S> {
  return call("rope", { x, positions, ...options })[0] as Tensor<D, S>;
}

export interface AttentionOptions {
  /** i32 `[B + 1]`: sequence b is rows `[cuSeqlens[b], cuSeqlens[b + 1])`; begins with 0 and ends with T. */
  readonly cuSeqlens: Tensor<"i32">;
  /** Query i of a sequence sees its keys 0 … i only. */
  readonly causal?: boolean | undefined;
  /** What scores are multiplied by; `1/√D` when left out. */
  readonly scale?: number | undefined;
}

/**
 * `softmax(scale · q kᵀ) v`, head by head, inside each of the sequences packed in the rows. Softmax and sums in f32.
 * A row's bits do not depend on the other sequences, nor on the number of threads.
 *
 * @param q, k, v `[T, H, D]`, f32 or bf16, D a multiple of 8
 * @returns `[T, H·D]` of q's dtype
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH`, `DISPOSED`; on reading the result,
 *   `INDEX_OUT_OF_RANGE` when `cuSeqlens` falls, or does not span the rows
 */
export function attention<D extends Activations, S extends Shape>(
  q: Tensor<D, S>,
  k: Tensor<D, S>,
  v: Tensor<D, S>,
  options: AttentionOptions,
): Tensor<D, readonly [S[0], number]> {
  return call("attention", { q, k, v, ...options })[0] as Tensor<D, readonly [S[0], number]>;
}

export interface VitAttentionOptions {
  readonly heads: number;
  /** i32 `[B + 1]`: image b is rows `[cuSeqlens[b], cuSeqlens[b + 1])`; begins with 0 and ends with T. */
  readonly cuSeqlens: Tensor<"i32">;
  /** i32 `[T, 2]`: row and column of the patch in its image. */
  readonly positions: Tensor<"i32">;
  /** `[C]`, weights of the RMS norms of q and k. */
  readonly qNorm: Tensor<Activations>;
  readonly kNorm: Tensor<Activations>;
  /** Base of the rotary frequencies, default 10000. */
  readonly theta?: number | undefined;
  /** Default 1e-6. */
  readonly eps?: number | undefined;
}

/**
 * The attention of the vision encoder (LongCat-Flash-Omni's published code), f32 throughout: 2-D rotary embedding
 * with halves of a head paired, then RMS normalisation of q and k over all heads jointly, then bidirectional attention
 * inside each packed image with scale `1/√D`. With `D = C / heads` and `f_j = theta^(-4j/D)`, elements i and i + D/2
 * of a head turn by `row · f_i` for i < D/4 and by `column · f_(i-D/4)` after.
 *
 * @param qkv `[T, 3C]`, f32 or bf16: a row is q, k, v; D a multiple of 8
 * @returns `[T, C]` of qkv's dtype
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT`, `DEVICE_MISMATCH`, `DISPOSED`; on reading the result,
 *   `INDEX_OUT_OF_RANGE` when `cuSeqlens` falls, or does not span the rows
 */
export function vitAttention<D extends Activations, S extends Shape>(
  qkv: Tensor<D, S>,
  options: VitAttentionOptions,
): Tensor<D, readonly [S[0], number]> {
  return call("vitAttention", { qkv, ...options })[0] as Tensor<D, readonly [S[0], number]>;
}
