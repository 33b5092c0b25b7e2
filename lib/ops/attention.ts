import type { Shape, Tensor } from "../tensor/tensor.js";
import { type Activations, call, type Weight, type WeightDType } from "./call.js";

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
  return call("rope", { x, positions }, options)[0] as Tensor<D, S>;
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
 * @param q `[T, H, D]`, f32 or bf16, D a multiple of 8
 * @param k as q
 * @param v as q
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
  return call("attention", { q, k, v }, options)[0] as Tensor<D, readonly [S[0], number]>;
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
  return call("vitAttention", { qkv }, options)[0] as Tensor<D, readonly [S[0], number]>;
}

export interface MlaCacheWriteOptions {
  /** `[T, R + P]`, f32 or bf16: the output of `kv_a_proj`, the compressed vector and the key part that turns (P even). */
  readonly kv: Tensor<Activations>;
  /** `[R]` */
  readonly normWeight: Tensor<Activations>;
  /** i32 `[T]` */
  readonly positions: Tensor<"i32">;
  /** i32 `[T]`: cache rows, block · blockSize + offset, all different. */
  readonly slots: Tensor<"i32">;
  /** `[blocks, blockSize, R + P]`, f32 or bf16; written in place. */
  readonly cache: Tensor<Activations>;
  /** Default 1e-6. */
  readonly eps?: number | undefined;
  /** α_kv, which multiplies the normalised vector; default 1. */
  readonly scale?: number | undefined;
  /** Base of the rotary frequencies. */
  readonly theta: number;
}

/**
 * Writes new tokens to the cache of multi-head latent attention: row `slots[t]` becomes the compressed vector
 * `scale · normWeight ⊙ a / sqrt(mean(a²) + eps)` followed by the shared key turned to `positions[t]` as `rope` does
 * (LongCat-Flash report, section 2.1, and published code).
 *
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT`, `DEVICE_MISMATCH`, `DISPOSED`; on reading the cache or
 *   what was computed from it, `INDEX_OUT_OF_RANGE` when a slot is outside it
 */
export function mlaCacheWrite(options: MlaCacheWriteOptions): void {
  call("mlaCacheWrite", {}, options);
}

/** What `mlaPrefill` and `mlaDecode` share. H heads, N elements of a key without and P with position, V of a value. */
export interface MlaOptions<D extends Activations> {
  /** `[T, H, N + P]`, f32 or bf16; the last P elements of every head are already turned. */
  readonly q: Tensor<D>;
  /** `kv_b_proj`, `[H · (N + V), R]`: per head N rows for keys, then V for values. f32, bf16 or f8e4m3. */
  readonly wKvB: Weight<WeightDType>;
  /** `[blocks, blockSize, R + P]`, f32 or bf16, as `mlaCacheWrite` fills it. */
  readonly cache: Tensor<Activations>;
  /** i32 `[B, M]`: the blocks of each sequence in order. Entries past those that `seqLens` needs are not read. */
  readonly blockTable: Tensor<"i32">;
  /** i32 `[B]`: keys of each sequence, those of the new tokens included. */
  readonly seqLens: Tensor<"i32">;
  readonly heads: number;
  readonly nopeDim: number;
  readonly ropeDim: number;
  readonly vDim: number;
  /** What scores are multiplied by; `1/√(N + P)` when left out. */
  readonly scale?: number | undefined;
}

export interface MlaPrefillOptions<D extends Activations> extends MlaOptions<D> {
  /** i32 `[B + 1]`: the queries of sequence b are rows `[cuSeqlens[b], cuSeqlens[b + 1])` of q, its last tokens. */
  readonly cuSeqlens: Tensor<"i32">;
}

/**
 * Multi-head latent attention of many new tokens, naive form (LongCat-Flash report, section 2.1): keys and values are
 * made from the cache block by block. Query i of a sequence with n queries and s keys sees keys `0 … s - n + i`.
 * Accumulated in f32; a row's bits do not depend on the other sequences, on the threads, nor on how the tokens before it
 * were cut into calls.
 *
 * @returns `[T, H · V]` of q's dtype
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT`, `DEVICE_MISMATCH`, `DISPOSED`; on reading the result,
 *   `INDEX_OUT_OF_RANGE` when `cuSeqlens` falls or does not span the rows, a length is not what the table can hold or
 *   less than its queries, or a block that is needed is not in the cache
 */
export function mlaPrefill<D extends Activations>(options: MlaPrefillOptions<D>): Tensor<D, readonly [number, number]> {
  return call("mlaPrefill", {}, options)[0] as Tensor<D, readonly [number, number]>;
}

/** The answer of `mlaDecode`. */
export interface MlaDecoded<D extends Activations> {
  /** `[B, H · V]` */
  readonly o: Tensor<D, readonly [number, number]>;
  /** f32 `[B, H]`: natural logarithm of the sum of the exponentials of the scores, to merge partial answers with. */
  readonly lse: Tensor<"f32", readonly [number, number]>;
}

/**
 * Multi-head latent attention of one new token per sequence, absorbed form (DeepSeek-V2 report, appendix C; LongCat-
 * Flash's published code): the queries go through `kv_b_proj`, so the cache is read as it is. An empty sequence gets
 * zeros and an lse of -∞. Bits do not depend on the other sequences, nor on the threads.
 *
 * @param options `q` is `[B, H, N + P]`
 * @throws as `mlaPrefill`
 */
export function mlaDecode<D extends Activations>(options: MlaOptions<D>): MlaDecoded<D> {
  const [o, lse] = call("mlaDecode", {}, options);
  return { o, lse } as unknown as MlaDecoded<D>;
}
