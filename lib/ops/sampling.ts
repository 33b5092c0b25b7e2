import type { Shape, Tensor } from "../tensor/tensor.js";
import { type Activations, call } from "./call.js";
import type { HasRank, If } from "./shapes.js";

/** Ranges `[start, end)` of ids that may be chosen, ascending and apart; all ids when left out. */
export type AllowedIds = readonly (readonly [start: number, end: number])[];

/** Logits `[B, V]`. */
export type Logits<S extends Shape, D extends Activations = Activations> = Tensor<D, S> & If<HasRank<S, 2>>;

/**
 * The id of the largest logit of each row, the lowest where several are. NaN is never the largest; where nothing
 * exceeds −∞ the first allowed id is the answer.
 *
 * @param logits `[B, V]`, f32 or bf16
 * @param options `allowed`: the ids to choose from
 * @returns `[B]` i32
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT`, `DISPOSED`
 */
export function argmax<S extends Shape>(
  logits: Logits<S>,
  options: { allowed?: AllowedIds | undefined } = {},
): Tensor<"i32", readonly [S[0]]> {
  return call("argmax", { logits, allowed: options.allowed?.flat() })[0] as Tensor<"i32", readonly [S[0]]>;
}

/**
 * Makes ids that came up before less likely (published code of LongCat-Flash-Omni). With c the number of times an id
 * stands in its row of the history, `y = logit / penaltyᶜ` where logit ≥ 0 and `logit · penaltyᶜ` where it is below.
 *
 * @param logits `[B, V]`, f32 or bf16
 * @param history `[B, W]` i32: the last ids; negative entries are empty
 * @param penalty above 0; the published value is 1.1
 * @returns `[B, V]` of the logits' dtype
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT`, `DEVICE_MISMATCH`, `DISPOSED`; an id of V or more is
 *   found when the operation runs (`INDEX_OUT_OF_RANGE` on reading the result)
 */
export function repetitionPenalty<D extends Activations, S extends Shape, H extends Shape>(
  logits: Logits<S, D>,
  history: Tensor<"i32", H> & If<HasRank<H, 2>>,
  penalty: number,
): Tensor<D, S> {
  return call("repetitionPenalty", { logits, history, penalty })[0] as Tensor<D, S>;
}

export interface SampleOptions {
  /** Default 1; 0 takes the largest logit, as `argmax`. */
  readonly temperature?: number | readonly number[] | undefined;
  /** Keeps the k largest; default 0, which keeps all. */
  readonly topK?: number | readonly number[] | undefined;
  /** Of what topK leaves, keeps the fewest largest that hold this share of the probability; default 1, all. */
  readonly topP?: number | readonly number[] | undefined;
  readonly seed: number | readonly number[];
  /** Number of the draw: the same seed, step and row draw the same id. */
  readonly step: number | readonly number[];
  readonly allowed?: AllowedIds | undefined;
}

/**
 * Draws an id from each row: softmax(logits / temperature) over the allowed ids, cut by topK, then by topP. The random
 * number is a function of seed, step and row alone (Philox4x32-10), and probabilities are integer weights: every device
 * draws the same id, and never one that is 2⁴⁰ times less likely than the likeliest.
 *
 * Options hold one value for all rows, or an array with one for each. With a single seed, rows draw from streams of
 * their own; with one seed per row, a row draws as if it were alone in the batch.
 *
 * NaN counts as −∞, which is never drawn; where nothing else is there the first allowed id is the answer. +∞ outweighs
 * everything finite. Of equal logits at a cut the lowest ids stay.
 *
 * @param logits `[B, V]`, f32 or bf16, V up to 2²³
 * @returns `[B]` i32
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT`, `DISPOSED`
 */
export function sample<S extends Shape>(logits: Logits<S>, options: SampleOptions): Tensor<"i32", readonly [S[0]]> {
  const list = (value: number | readonly number[] | undefined) => (typeof value === "number" ? [value] : value);
  const { temperature, topK, topP, seed, step, allowed } = options;
  return call("sample", {
    logits,
    temperature: list(temperature),
    topK: list(topK),
    topP: list(topP),
    seed: list(seed),
    step: list(step),
    allowed: allowed?.flat(),
  })[0] as Tensor<"i32", readonly [S[0]]>;
}
