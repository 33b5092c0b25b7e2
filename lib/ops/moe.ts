import { checkObject } from "../options.js";
import { checkTensor } from "../tensor/check.js";
import type { PackedWeight } from "../tensor/packedWeight.js";
import type { Shape, Tensor } from "../tensor/tensor.js";
import { type Activations, call, type Weight, type WeightDType } from "./call.js";
import type { RowOptions } from "./linear.js";
import type { If, Last, Matches, PlusOne, Ranked, Shaped } from "./shapes.js";

/** The router's decision for T tokens with K picks each. */
export interface Routing<T extends number = number, K extends number = number> {
  /** i32 `[T, K]`: picks by descending biased score. An id of `experts` or more is a zero expert. */
  readonly ids: Tensor<"i32", readonly [T, K]>;
  /** f32 `[T, K]`: the weight of each pick. */
  readonly weights: Tensor<"f32", readonly [T, K]>;
  /** f32 `[T]`: the summed weight of the zero experts among the picks. */
  readonly zeroWeight: Tensor<"f32", readonly [T]>;
  /** Number of FFN experts. */
  readonly experts: number;
  readonly zeroExperts: number;
}

/** Options of `router`. */
export interface RouterOptions<K extends number = number> {
  /** Picks per token, K. */
  readonly topK: K;
  /** Number of FFN experts, E. */
  readonly experts: number;
  /** Number of zero-computation experts, Z. */
  readonly zeroExperts: number;
  /** γ, which multiplies every weight. */
  readonly scale: number;
  /** Divides the picked scores by their sum first. Default false. */
  readonly renormalize?: boolean;
  /** Multiplies the zero experts' weights by γ too, as the report's equations do. Default true. */
  readonly scaleZeroExperts?: boolean;
}

/**
 * The ScMoE router: softmax over FFN and zero experts in f32, a correction bias that affects the choice but not the
 * weights, and top-k, where ties go to the lowest id (LongCat-Flash report, section 2.1). A token with a NaN logit gets
 * NaN weights and valid ids.
 *
 * @param x `[T, D]`, f32 or bf16
 * @param classifier `[E+Z, D]`, f32 or bf16
 * @param correctionBias f32 `[E+Z]`, or `undefined` for none
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` when `topK` exceeds E+Z or an option is unknown
 */
export function router<S extends Shape, C extends Shape, K extends number, B extends Shape = Shape>(
  x: Tensor<Activations, S> & Ranked<S, 2>,
  classifier: Weight<"f32" | "bf16", C> & Shaped<C, readonly [number, Last<S>]>,
  correctionBias: (Tensor<"f32", B> & Shaped<B, readonly [C[0]]>) | undefined,
  options: RouterOptions<K>,
): Routing<S[0], K> {
  checkObject("ops.router", "options", options);
  const [ids, weights, zeroWeight] = call("router", { x, classifier, correctionBias }, options);
  const { experts, zeroExperts } = options;
  return { ids, weights, zeroWeight, experts, zeroExperts } as Routing<S[0], K>;
}

/** The rows of a grouped GEMM: the picks of FFN experts, sorted by expert. */
export interface Permutation<T extends number = number, K extends number = number> {
  /** i32 `[E+1]`: expert e has the rows `[offsets[e], offsets[e+1])`. */
  readonly offsets: Tensor<"i32", readonly [number]>;
  /** i32 `[T·K]`: the token of each row, −1 for unused rows at the end. */
  readonly tokenOf: Tensor<"i32", readonly [number]>;
  /** i32 `[T, K]`: the row of each pick, −1 for a zero expert. */
  readonly slotOf: Tensor<"i32", readonly [T, K]>;
}

/**
 * Sorts picks by expert, then by token. Zero experts and ids of −1 take no row.
 *
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH` or `DISPOSED` for unsuitable ids. When a result is read:
 *   `INDEX_OUT_OF_RANGE` for an id outside `[−1, E+Z)`
 */
export function permutation<T extends number, K extends number>(
  routing: Pick<Routing<T, K>, "ids" | "experts" | "zeroExperts">,
): Permutation<T, K> {
  checkObject("ops.permutation", "routing", routing);
  const { ids, experts, zeroExperts } = routing;
  const [offsets, tokenOf, slotOf] = call("permutation", { ids, experts, zeroExperts });
  return { offsets, tokenOf, slotOf } as Permutation<T, K>;
}

/** The packed matrices `[E, N, K]` of E experts. */
export type ExpertWeight<
  N extends number = number,
  K extends number = number,
  E extends number = number,
> = PackedWeight<WeightDType, readonly [E, N, K], "experts">;

/** i32 `[E+1]`, the offsets of E experts. */
export type Offsets<O extends Shape, E extends number> = Tensor<"i32", O> & Shaped<O, readonly [PlusOne<E>]>;

/**
 * One GEMM per expert over ragged rows, `y[r] = x[r]·W[e]ᵀ`. An expert may have any number of rows, also none.
 *
 * @param x `[R, K]`, f32 or bf16
 * @param w `[E, N, K]` packed
 * @param offsets i32 `[E+1]`: expert e computes the rows `[offsets[e], offsets[e+1])`
 * @param options with `gather`, an i32 `[R']`, row r reads `x[gather[r]]`; `int8Rows` as for `linear`
 * @returns `[R', N]` of x's dtype, where R' = R without `gather`. Rows from `offsets[E]` on are zero
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` when w is not packed or an option is unknown. When the result is read: `INDEX_OUT_OF_RANGE` for
 *   offsets or gathered rows outside x
 */
export function groupedGemm<
  D extends Activations,
  S extends Shape,
  E extends number,
  N extends number,
  K extends number,
  O extends Shape,
  G extends Shape = S,
>(
  x: Tensor<D, S> & Ranked<S, 2>,
  w: ExpertWeight<N, K, E> & Shaped<readonly [E, N, K], readonly [number, number, Last<S>]>,
  offsets: Offsets<O, E>,
  options: RowOptions & { gather?: Tensor<"i32", G> } = {},
): Tensor<D, readonly [G[0], N]> {
  return call("groupedGemm", { x, w, offsets }, options)[0] as Tensor<D, readonly [G[0], N]>;
}

/**
 * The gated half of every expert, `silu(x[r]·G[e]ᵀ) ⊙ (x[r]·U[e]ᵀ)`, over ragged rows as in `groupedGemm`.
 *
 * @param gate `[E, F, K]` packed
 * @param up `[E, F, K]` packed, of gate's dtype
 * @returns `[R', F]` of x's dtype
 * @throws {CaracalError} as `groupedGemm`
 */
export function groupedSwiglu<
  D extends Activations,
  S extends Shape,
  E extends number,
  F extends number,
  K extends number,
  U extends Shape,
  O extends Shape,
  G extends Shape = S,
>(
  x: Tensor<D, S> & Ranked<S, 2>,
  gate: ExpertWeight<F, K, E> & Shaped<readonly [E, F, K], readonly [number, number, Last<S>]>,
  up: PackedWeight<WeightDType, U, "experts"> & Shaped<U, readonly [E, F, K]>,
  offsets: Offsets<O, E>,
  options: RowOptions & { gather?: Tensor<"i32", G> } = {},
): Tensor<D, readonly [G[0], F]> {
  return call("groupedSwiglu", { x, gate, up, offsets }, options)[0] as Tensor<D, readonly [G[0], F]>;
}

/**
 * `out[t] = residual[t] + zeroWeight[t]·x[t] + Σ_k weights[t,k]·y[slotOf[t,k]]`: the weighted sum of the experts'
 * outputs in a fixed order, where zero experts return their input.
 *
 * @param y `[R, D]`, the rows of the down-projection
 * @param x `[T, D]`, the input of the MoE layer
 * @param options `residual` is `[T, D]` of x's dtype
 * @returns `[T, D]` of x's dtype
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` when an option is unknown. When the result is read: `INDEX_OUT_OF_RANGE` for a slot outside y
 */
export function combine<
  D extends Activations,
  S extends Shape,
  Y extends Shape,
  T extends number,
  K extends number,
  P extends Shape,
  R extends Shape = Shape,
>(
  y: Tensor<NoInfer<D>, Y> & Shaped<Y, readonly [number, Last<S>]>,
  x: Tensor<D, S> & Ranked<S, 2>,
  routing: Pick<Routing<T, K>, "weights" | "zeroWeight"> & OfTokens<T, S>,
  permutation: { readonly slotOf: Tensor<"i32", P> & Shaped<P, readonly [T, K]> },
  options: { residual?: (Tensor<NoInfer<D>, R> & Shaped<R, S>) | undefined } = {},
): Tensor<D, S> {
  checkObject("ops.combine", "routing", routing);
  checkObject("ops.combine", "permutation", permutation);
  const { weights, zeroWeight } = routing;
  const { slotOf } = permutation;
  return call("combine", { y, x, weights, zeroWeight, slotOf }, options)[0] as Tensor<D, S>;
}

/** Rejects the routing of T tokens for an x of another number of rows. */
export type OfTokens<T extends number, S extends Shape> = If<
  Matches<readonly [T], readonly [S[0]]>,
  `the routing is of ${T} tokens, but x has ${S[0]}`
>;

/** The FFN experts of one MoE layer: gate and up `[E, F, D]`, down `[E, D, F]`, packed. */
export interface Experts<D extends number = number, F extends number = number, E extends number = number> {
  readonly gate: ExpertWeight<F, D, E>;
  readonly up: ExpertWeight<F, D, E>;
  readonly down: ExpertWeight<D, F, E>;
}

/**
 * The mixture of experts for routed tokens: permutation, grouped SwiGLU, grouped down-projection, combine. A zero
 * expert costs no row of any GEMM.
 *
 * @param x `[T, D]`, f32 or bf16
 * @param options `residual` is `[T, D]` of x's dtype, added in the combine; `int8Rows` as for `linear`
 * @returns `[T, D]` of x's dtype
 * @throws {CaracalError} as `permutation`, `groupedSwiglu`, `groupedGemm` and `combine`
 */
export function moe<
  D extends Activations,
  S extends Shape,
  H extends number,
  F extends number,
  E extends number,
  T extends number,
  R extends Shape = Shape,
>(
  x: Tensor<D, S> & Ranked<S, 2>,
  experts: Experts<H, F, E> & If<Matches<readonly [H], readonly [Last<S>]>, `x must have ${H} columns, not ${Last<S>}`>,
  routing: Routing<T> & OfTokens<T, S>,
  options: RowOptions & { residual?: (Tensor<NoInfer<D>, R> & Shaped<R, S>) | undefined } = {},
): Tensor<D, S> {
  checkTensor("ops.moe", "x", x);
  checkObject("ops.moe", "experts", experts);
  const tokens: Tensor<D> = x;
  checkObject("ops.moe", "options", options);
  const { gate, up, down }: Experts = experts;
  const { int8Rows, ...combined } = options;
  const picks: Routing = routing;
  return tokens.device.scope(() => {
    const rows = permutation(picks);
    const hidden = groupedSwiglu(tokens, gate, up, rows.offsets, { gather: rows.tokenOf, int8Rows });
    const y = groupedGemm(hidden, down, rows.offsets, { int8Rows });
    return combine(y, tokens, picks, rows, combined);
  }) as Tensor<D, S>;
}
