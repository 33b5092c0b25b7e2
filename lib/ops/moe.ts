import type { PackedWeight, Tensor } from "../tensor/tensor.js";
import { type Activations, call, type Weight, type WeightDType } from "./call.js";

/** What the router decided for T tokens with K picks each. */
export interface Routing {
  /** i32 `[T, K]`: picks by descending biased score; an id ≥ `experts` is a zero expert. */
  readonly ids: Tensor<"i32">;
  /** f32 `[T, K]`: the weight of each pick. */
  readonly weights: Tensor<"f32">;
  /** f32 `[T]`: the summed weight of the zero experts among the picks. */
  readonly zeroWeight: Tensor<"f32">;
  /** Number of FFN experts. */
  readonly experts: number;
  readonly zeroExperts: number;
}

export interface RouterOptions {
  /** Picks per token. */
  readonly topK: number;
  /** Number of FFN experts, E. */
  readonly experts: number;
  /** Number of zero-computation experts, Z. */
  readonly zeroExperts: number;
  /** γ, which multiplies every weight. */
  readonly scale: number;
  /** Divide the picked scores by their sum first. Default false. */
  readonly renormalize?: boolean;
  /** Multiply the zero experts' weights by γ too, as the report's equations do. Default true. */
  readonly scaleZeroExperts?: boolean;
}

/**
 * The ScMoE router: softmax over FFN and zero experts in f32, a correction bias that steers the choice but not the
 * weights, top-k (ties to the lowest id). LongCat-Flash report, section 2.1.
 *
 * @param x `[T, D]`, f32 or bf16
 * @param classifier `[E+Z, D]`, f32 or bf16
 * @param correctionBias f32 `[E+Z]`, or `undefined` for none
 * @throws `INVALID_ARGUMENT` (`topK` above E+Z), `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH`, `DISPOSED`.
 *   A token with a NaN logit gets NaN weights and valid ids.
 */
export function router(
  x: Tensor<Activations>,
  classifier: Weight<"f32" | "bf16">,
  correctionBias: Tensor<"f32"> | undefined,
  options: RouterOptions,
): Routing {
  const [ids, weights, zeroWeight] = call("router", { x, classifier, correctionBias }, options);
  return {
    ids: ids as Tensor<"i32">,
    weights: weights as Tensor<"f32">,
    zeroWeight: zeroWeight as Tensor<"f32">,
    experts: options.experts,
    zeroExperts: options.zeroExperts,
  };
}

/** Rows of a grouped GEMM: the picks of FFN experts, sorted by expert. */
export interface Permutation {
  /** i32 `[E+1]`: expert e has rows `[offsets[e], offsets[e+1])`. */
  readonly offsets: Tensor<"i32">;
  /** i32 `[T·K]`: the token of each row, −1 past the last. */
  readonly tokenOf: Tensor<"i32">;
  /** i32 `[T, K]`: the row of each pick, −1 for a zero expert. */
  readonly slotOf: Tensor<"i32">;
}

/**
 * Sorts picks by expert, then by token. Zero experts and ids of −1 take no row.
 * @throws `INDEX_OUT_OF_RANGE`, when a result is read, for an id outside `[−1, E+Z)`
 */
export function permutation(routing: Pick<Routing, "ids" | "experts" | "zeroExperts">): Permutation {
  const { ids, experts, zeroExperts } = routing;
  const [offsets, tokenOf, slotOf] = call("permutation", { ids, experts, zeroExperts }) as Tensor<"i32">[];
  return { offsets: offsets!, tokenOf: tokenOf!, slotOf: slotOf! };
}

/** The packed matrices `[E, N, K]` of E experts. */
export type ExpertWeight = PackedWeight<WeightDType, readonly [number, number, number]>;

/**
 * One GEMM per expert over ragged rows, `y[r] = x[r]·W[e]ᵀ`; any number of rows per expert, 0 included.
 *
 * @param x `[R, K]`, f32 or bf16
 * @param w `[E, N, K]` packed
 * @param offsets i32 `[E+1]`
 * @param options `gather` i32 `[R']`: row r reads `x[gather[r]]`
 * @returns `[R', N]`, R' = R without `gather`; rows from `offsets[E]` on are zero
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`; `INDEX_OUT_OF_RANGE`, when read, for offsets or rows outside x
 */
export function groupedGemm<D extends Activations>(
  x: Tensor<D>,
  w: ExpertWeight,
  offsets: Tensor<"i32">,
  options: { gather?: Tensor<"i32"> } = {},
): Tensor<D> {
  return call("groupedGemm", { x, w, offsets }, options)[0] as Tensor<D>;
}

/**
 * The gated half of every expert, `silu(x[r]·G[e]ᵀ) ⊙ (x[r]·U[e]ᵀ)`, over ragged rows as in `groupedGemm`.
 *
 * @param gate `[E, F, K]` packed
 * @param up `[E, F, K]` packed, of the dtype of gate
 * @returns `[R', F]`
 * @throws as `groupedGemm`
 */
export function groupedSwiglu<D extends Activations>(
  x: Tensor<D>,
  gate: ExpertWeight,
  up: ExpertWeight,
  offsets: Tensor<"i32">,
  options: { gather?: Tensor<"i32"> } = {},
): Tensor<D> {
  return call("groupedSwiglu", { x, gate, up, offsets }, options)[0] as Tensor<D>;
}

/**
 * `out[t] = residual[t] + zeroWeight[t]·x[t] + Σ_k weights[t,k]·y[slotOf[t,k]]`: the experts' answers weighted and
 * summed in a fixed order, with the zero experts' identity folded in.
 *
 * @param y `[R, D]`, the rows of the down-projection
 * @param x `[T, D]`, the MoE's input
 * @returns `[T, D]`
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`; `INDEX_OUT_OF_RANGE`, when read, for a slot outside y
 */
export function combine<D extends Activations>(
  y: Tensor<D>,
  x: Tensor<D>,
  routing: Pick<Routing, "weights" | "zeroWeight">,
  permutation: Pick<Permutation, "slotOf">,
  options: { residual?: Tensor<D> | undefined } = {},
): Tensor<D> {
  const { weights, zeroWeight } = routing;
  const { slotOf } = permutation;
  return call("combine", { y, x, weights, zeroWeight, slotOf }, options)[0] as Tensor<D>;
}

/** The FFN experts of one MoE layer: gate and up `[E, F, D]`, down `[E, D, F]`, packed. */
export interface Experts {
  readonly gate: ExpertWeight;
  readonly up: ExpertWeight;
  readonly down: ExpertWeight;
}

/**
 * The mixture of experts for tokens already routed: permutation, grouped SwiGLU, grouped down-projection, combine.
 * Zero-expert picks cost no row of any GEMM.
 *
 * @param x `[T, D]`, f32 or bf16
 * @param options `residual` `[T, D]`, added in the combine
 * @returns `[T, D]` of x's dtype
 * @throws as the operations it composes
 */
export function moe<D extends Activations>(
  x: Tensor<D>,
  experts: Experts,
  routing: Routing,
  options: { residual?: Tensor<D> | undefined } = {},
): Tensor<D> {
  return x.device.scope(() => {
    const rows = permutation(routing);
    const hidden = groupedSwiglu(x, experts.gate, experts.up, rows.offsets, { gather: rows.tokenOf });
    const y = groupedGemm(hidden, experts.down, rows.offsets);
    return combine(y, x, routing, rows, options);
  });
}
