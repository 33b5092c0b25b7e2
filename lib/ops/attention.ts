import type { Shape, Tensor } from "../tensor/tensor.js";
import { type Activations, call, type Weight, type WeightDType } from "./call.js";
import type { Ranked, Shaped } from "./shapes.js";

/** Options of `rope`. */
export interface RopeOptions {
  /** Base of the frequencies. */
  readonly theta: number;
  /** The number of elements at the end of each head that are rotated, an even number. Default: the whole head. */
  readonly ropeDim?: number | undefined;
}

/**
 * Rotary position embedding over interleaved pairs. Of the last `ropeDim` elements of each head, the pair
 * `(x[2i], x[2i+1])` is rotated by `position · theta^(-2i/ropeDim)` (published code of LongCat-Flash; transformers
 * stores the same numbers with even elements first). Angles are exact to f32 at any position.
 *
 * @param x `[T, H, D]`, f32 or bf16
 * @param positions i32 `[T]`
 * @returns `[T, H, D]` of x's dtype
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` when `ropeDim` is odd or exceeds D, theta is not positive or an option is unknown
 */
export function rope<D extends Activations, S extends Shape, P extends Shape>(
  x: Tensor<D, S> & Ranked<S, 3>,
  positions: Tensor<"i32", P> & Shaped<P, readonly [S[0]]>,
  options: RopeOptions,
): Tensor<D, S> {
  return call("rope", { x, positions }, options)[0] as Tensor<D, S>;
}

/** Options of `attention`. */
export interface AttentionOptions {
  /** i32 `[B + 1]`, from 0 to T: sequence b has the rows `[cuSeqlens[b], cuSeqlens[b + 1])`. */
  readonly cuSeqlens: Tensor<"i32">;
  /** Limits query i of a sequence to its keys 0 … i. Default false. */
  readonly causal?: boolean | undefined;
  /** The factor of the scores. Default `1/√D`. */
  readonly scale?: number | undefined;
}

/**
 * `softmax(scale · q kᵀ) v` for each head within each of the sequences that are packed in the rows. Softmax and sums
 * are in f32. The bits of a row depend neither on the other sequences nor on the number of threads.
 *
 * @param q `[T, H, D]`, f32 or bf16, where D is a multiple of 8
 * @param k of q's shape and dtype
 * @param v of q's shape and dtype
 * @returns `[T, H·D]` of q's dtype
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` when an option is unknown. When the result is read: `INDEX_OUT_OF_RANGE` when `cuSeqlens`
 *   descends or does not span the rows
 */
export function attention<D extends Activations, S extends Shape, K extends Shape, V extends Shape>(
  q: Tensor<D, S> & Ranked<S, 3>,
  k: Tensor<NoInfer<D>, K> & Shaped<K, S>,
  v: Tensor<NoInfer<D>, V> & Shaped<V, S>,
  options: AttentionOptions,
): Tensor<D, readonly [S[0], number]> {
  return call("attention", { q, k, v }, options)[0] as Tensor<D, readonly [S[0], number]>;
}

/** Options of `vitAttention`. */
export interface VitAttentionOptions {
  readonly heads: number;
  /** i32 `[B + 1]`, from 0 to T: image b has the rows `[cuSeqlens[b], cuSeqlens[b + 1])`. */
  readonly cuSeqlens: Tensor<"i32">;
  /** i32 `[T, 2]`: row and column of each patch in its image. */
  readonly positions: Tensor<"i32">;
  /** `[C]`, the weight of the RMS norm of q. */
  readonly qNorm: Tensor<Activations>;
  /** `[C]`, the weight of the RMS norm of k. */
  readonly kNorm: Tensor<Activations>;
  /** Base of the rotary frequencies. Default 10000. */
  readonly theta?: number | undefined;
  /** Default 1e-6. */
  readonly eps?: number | undefined;
}

/**
 * The attention of the vision encoder (published code of LongCat-Flash-Omni), in f32: 2-D rotary embedding that pairs
 * the halves of a head, RMS normalisation of q and k over all heads jointly, then bidirectional attention within each
 * packed image with scale `1/√D`. With `D = C / heads` and `f_j = theta^(-4j/D)`, elements i and i + D/2 of a head are
 * rotated by `row · f_i` if i < D/4, else by `column · f_(i-D/4)`.
 *
 * @param qkv `[T, 3C]`, f32 or bf16: each row holds q, k and v. D is a multiple of 8
 * @returns `[T, C]` of qkv's dtype
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` when a number is not positive or an option is unknown. When the result is read:
 *   `INDEX_OUT_OF_RANGE` when `cuSeqlens` descends or does not span the rows
 */
export function vitAttention<D extends Activations, S extends Shape, P extends Shape>(
  qkv: Tensor<D, S> & Ranked<S, 2>,
  options: VitAttentionOptions & { readonly positions: Tensor<"i32", P> & Shaped<P, readonly [S[0], 2]> },
): Tensor<D, readonly [S[0], number]> {
  return call("vitAttention", { qkv }, options)[0] as Tensor<D, readonly [S[0], number]>;
}

/** Arguments of `mlaCacheWrite`. */
export interface MlaCacheWriteOptions {
  /** `[T, R + P]`, f32 or bf16, with an even P: the output of `kv_a_proj`, a compressed vector and a rotary key. */
  readonly kv: Tensor<Activations>;
  /** `[R]` */
  readonly normWeight: Tensor<Activations>;
  /** i32 `[T]` */
  readonly positions: Tensor<"i32">;
  /** i32 `[T]`: distinct cache rows, block · blockSize + offset. */
  readonly slots: Tensor<"i32">;
  /** `[blocks, blockSize, R + P]`, f32 or bf16; written in place. */
  readonly cache: Tensor<Activations>;
  /** Default 1e-6. */
  readonly eps?: number | undefined;
  /** α_kv, the factor of the normalised vector. Default 1. */
  readonly scale?: number | undefined;
  /** Base of the rotary frequencies. */
  readonly theta: number;
}

/**
 * Writes new tokens to the cache of multi-head latent attention. Row `slots[t]` becomes the compressed vector
 * `scale · normWeight ⊙ a / sqrt(mean(a²) + eps)` followed by the shared key, rotated to `positions[t]` as by `rope`
 * (LongCat-Flash report, section 2.1, and published code).
 *
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` when a number is not positive or an option is unknown. When the cache or a tensor computed from
 *   it is read: `INDEX_OUT_OF_RANGE` for a slot outside the cache
 */
export function mlaCacheWrite(options: MlaCacheWriteOptions): void {
  call("mlaCacheWrite", {}, options);
}

/**
 * The options of `mlaPrefill` and `mlaDecode`, for H heads. A key has N elements without position and P with position,
 * and a value has V elements.
 */
export interface MlaOptions<D extends Activations, S extends Shape = Shape> {
  /** `[T, H, N + P]`, f32 or bf16. The last P elements of each head are already rotated. */
  readonly q: Tensor<D, S> & Ranked<S, 3>;
  /** `kv_b_proj`, `[H · (N + V), R]`: for each head N rows for keys, then V for values. f32, bf16 or f8e4m3. */
  readonly wKvB: Weight<WeightDType>;
  /** `[blocks, blockSize, R + P]`, f32 or bf16, as written by `mlaCacheWrite`. */
  readonly cache: Tensor<Activations>;
  /** i32 `[B, M]`: the blocks of each sequence in order. Entries beyond the length in `seqLens` are not read. */
  readonly blockTable: Tensor<"i32">;
  /** i32 `[B]`: the number of keys of each sequence, including those of the new tokens. */
  readonly seqLens: Tensor<"i32">;
  readonly heads: number;
  readonly nopeDim: number;
  readonly ropeDim: number;
  readonly vDim: number;
  /** The factor of the scores. Default `1/√(N + P)`. */
  readonly scale?: number | undefined;
}

export interface MlaPrefillOptions<D extends Activations, S extends Shape = Shape> extends MlaOptions<D, S> {
  /** i32 `[B + 1]`: the queries of sequence b, its last tokens, are rows `[cuSeqlens[b], cuSeqlens[b + 1])` of q. */
  readonly cuSeqlens: Tensor<"i32">;
}

/**
 * Multi-head latent attention of many new tokens, in the naive form (LongCat-Flash report, section 2.1): keys and
 * values are computed from the cache block by block. Query i of a sequence with n queries and s keys attends to keys
 * `0 … s - n + i`. Sums are in f32. The bits of a row depend neither on the other sequences, nor on the number of
 * threads, nor on how the earlier tokens were divided into calls.
 *
 * @returns `[T, H · V]` of q's dtype
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` when a number is not positive or an option is unknown. When the result is read:
 *   `INDEX_OUT_OF_RANGE` when `cuSeqlens` descends or does not span the rows, when a length exceeds what the block
 *   table can hold or is less than the number of queries, or when a required block is outside the cache
 */
export function mlaPrefill<D extends Activations, S extends Shape>(
  options: MlaPrefillOptions<D, S>,
): Tensor<D, readonly [S[0], number]> {
  return call("mlaPrefill", {}, options)[0] as Tensor<D, readonly [S[0], number]>;
}

/** The result of `mlaDecode` for B sequences and H heads. */
export interface MlaDecoded<D extends Activations, B extends number = number, H extends number = number> {
  /** `[B, H · V]` */
  readonly o: Tensor<D, readonly [B, number]>;
  /** f32 `[B, H]`: the natural logarithm of the sum of the exponentials of the scores, for merging partial results. */
  readonly lse: Tensor<"f32", readonly [B, H]>;
}

/**
 * Multi-head latent attention of one new token per sequence, in the absorbed form (DeepSeek-V2 report, appendix C;
 * published code of LongCat-Flash): the queries are multiplied by `kv_b_proj`, so the cache is read as it is. An empty
 * sequence gets zeros and an lse of -∞. The bits depend neither on the other sequences nor on the number of threads.
 *
 * @param options `q` is `[B, H, N + P]`
 * @throws {CaracalError} as `mlaPrefill`
 */
export function mlaDecode<D extends Activations, S extends Shape>(
  options: MlaOptions<D, S>,
): MlaDecoded<D, S[0], S[1]> {
  const [o, lse] = call("mlaDecode", {}, options);
  return { o, lse } as MlaDecoded<D, S[0], S[1]>;
}
