import { checkObject, checkOptionNames } from "../options.js";
import type { Shape, Tensor } from "../tensor/tensor.js";
import { type Activations, call, checkedPair } from "./call.js";
import { listFor } from "./lists.js";
import type { Ranked, Shaped } from "./shapes.js";

/** Ascending ranges `[start, end)`, without overlap, of the ids that may be chosen. */
export type AllowedIds = readonly (readonly [start: number, end: number])[];

/** Logits `[B, V]`. */
export type Logits<S extends Shape, D extends Activations = Activations> = Tensor<D, S> & Ranked<S, 2>;

/** Options of `argmax`. */
export interface ArgmaxOptions {
  /** Default: all ids. */
  readonly allowed?: AllowedIds | undefined;
}
const argmaxOptions = { allowed: true } satisfies Record<keyof ArgmaxOptions, true>;

/**
 * The id of the largest logit of each row, and the lowest of them if several are equal. NaN is never the largest. If no
 * logit exceeds −∞, the result is the first allowed id.
 *
 * @param logits `[B, V]`, f32 or bf16
 * @returns `[B]` i32
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH` or `DISPOSED` for unsuitable logits, `INVALID_ARGUMENT` for
 *   ranges that do not ascend inside `[0, V)` or an unknown option
 */
export function argmax<S extends Shape>(
  logits: Logits<S>,
  options: ArgmaxOptions = {},
): Tensor<"i32", readonly [S[0]]> {
  checkOptionNames("ops.argmax", options, argmaxOptions);
  return call("argmax", { logits, allowed: flat("ops.argmax", logits, options.allowed) })[0] as Tensor<
    "i32",
    readonly [S[0]]
  >;
}

/**
 * Makes the ids of the history less likely (published code of LongCat-Flash-Omni). For an id that occurs c times in its
 * row of the history, `y = logit / penaltyᶜ` if logit ≥ 0, else `logit · penaltyᶜ`.
 *
 * @param logits `[B, V]`, f32 or bf16
 * @param history `[B, W]` i32: the last ids; negative entries are unused
 * @param penalty above 0; the published value is 1.1
 * @returns `[B, V]` of the logits' dtype
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` when penalty is not positive. When the result is read: `INDEX_OUT_OF_RANGE` for an id of V or more
 */
export function repetitionPenalty<D extends Activations, S extends Shape, H extends Shape>(
  logits: Logits<S, D>,
  history: Tensor<"i32", H> & Shaped<H, readonly [S[0], number]>,
  penalty: number,
): Tensor<D, S> {
  return call("repetitionPenalty", { logits, history, penalty })[0] as Tensor<D, S>;
}

/** Options of `sample`; a list has a value per row. */
export interface SampleOptions {
  /** Default 1. With 0 the largest logit is taken, as by `argmax`. */
  readonly temperature?: number | readonly number[] | undefined;
  /** Keeps the k largest logits. Default 0, which keeps all. */
  readonly topK?: number | readonly number[] | undefined;
  /** Keeps the fewest largest logits with this share of the probability that topK leaves. Default 1, which keeps all. */
  readonly topP?: number | readonly number[] | undefined;
  readonly seed: number | readonly number[];
  /** The number of the draw: the same seed, step and row draw the same id. */
  readonly step: number | readonly number[];
  /** Default: all ids. */
  readonly allowed?: AllowedIds | undefined;
}
const sampleOptions = {
  temperature: true,
  topK: true,
  topP: true,
  seed: true,
  step: true,
  allowed: true,
} satisfies Record<keyof SampleOptions, true>;

/**
 * Draws an id from each row: softmax(logits / temperature) over the allowed ids, cut by topK, then by topP. The random
 * number is a function of seed, step and row alone (Philox4x32-10), and probabilities are integer weights: every device
 * draws the same id, and never one that is 2⁴⁰ times less likely than the most likely.
 *
 * An option holds one value for all rows, or an array with one per row. With a single seed, each row draws from a stream
 * of its own; with one seed per row, a row draws as if it were alone in the batch.
 *
 * NaN counts as −∞, which is never drawn; if there is nothing else, the result is the first allowed id. +∞ outweighs
 * every finite logit. A cut among equal logits keeps the lowest ids.
 *
 * @param logits `[B, V]`, f32 or bf16, V up to 2²³
 * @returns `[B]` i32
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH` or `DISPOSED` for unsuitable logits, `INVALID_ARGUMENT` when
 *   an option is unknown or out of range
 */
export function sample<S extends Shape>(logits: Logits<S>, options: SampleOptions): Tensor<"i32", readonly [S[0]]> {
  checkObject("ops.sample", "options", options);
  checkOptionNames("ops.sample", options, sampleOptions);
  const { temperature, topK, topP, seed, step, allowed } = options;
  const perRow = (argument: string, value: number | readonly number[] | undefined): readonly number[] | undefined => {
    if (!Array.isArray(value)) return (typeof value === "number" ? [value] : value) as readonly number[] | undefined;
    return listFor<number>("ops.sample", argument, value, logits, (shape) => shape[0] ?? 0);
  };
  return call("sample", {
    logits,
    temperature: perRow("temperature", temperature),
    topK: perRow("topK", topK),
    topP: perRow("topP", topP),
    seed: perRow("seed", seed)!,
    step: perRow("step", step)!,
    allowed: flat("ops.sample", logits, allowed),
  })[0] as Tensor<"i32", readonly [S[0]]>;
}

function flat(where: string, logits: Tensor, allowed: AllowedIds | undefined): number[] | undefined {
  if (allowed === undefined) return undefined;
  const expected = "a list of ranges [start, end)";
  const columns = (shape: Shape) => shape[1] ?? 0; // ranges ascend and none is empty
  const ranges = listFor<AllowedIds[number]>(where, "allowed", allowed, logits, columns, expected);
  return ranges.flatMap((range) => checkedPair(where, "each range of allowed", range));
}
