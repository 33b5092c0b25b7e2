import { checkObject, checkOptionNames } from "../options.js";
import type { Row, Shape, Tensor } from "../tensor/tensor.js";
import { type Activations, call } from "./call.js";
import type { Ranked } from "./shapes.js";

/** Options of `embedding`. */
export interface EmbeddingOptions<Out extends Activations> {
  /** The result's dtype. Default: the table's. */
  readonly outDtype?: Out | undefined;
  /** A negative id gives a row of zeros instead of an error. */
  readonly allowNegative?: boolean | undefined;
}

/**
 * Looks up rows, `y[i] = table[ids[i]]`.
 *
 * @param table `[V, C]`, f32 or bf16
 * @param ids `[...]` i32
 * @returns `[..., C]`
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` when an option is unknown. When the result is read: `INDEX_OUT_OF_RANGE` for an id outside the
 *   table
 */
export function embedding<D extends Activations, S extends Shape, I extends Shape, Out extends Activations = D>(
  table: Tensor<D, S> & Ranked<S, 2>,
  ids: Tensor<"i32", I>,
  options: EmbeddingOptions<Out> = {},
): Tensor<Out, readonly [...I, ...Row<S>]> {
  return call("embedding", { table, ids }, options)[0] as Tensor<Out, readonly [...I, ...Row<S>]>;
}

/** The ids of one step of the speech loop, and their tables. */
export interface StepEmbeddingInputs<Out extends Activations> {
  /** `[V, C]`, f32 or bf16 */
  readonly textTable: Tensor<Activations>;
  /** Q tables `[V_k, C]` of textTable's dtype */
  readonly codecTables: readonly Tensor<Activations>[];
  /** `[T]` */
  readonly textIds: Tensor<"i32">;
  /** `[T, Q]` */
  readonly codecIds: Tensor<"i32">;
  /** The result's dtype. Default: the tables'. */
  readonly outDtype?: Out | undefined;
}
const stepInputs = {
  textTable: true,
  codecTables: true,
  textIds: true,
  codecIds: true,
  outDtype: true,
} satisfies Record<keyof StepEmbeddingInputs<Activations>, true>;

export interface PromptEmbeddingInputs<Out extends Activations> extends StepEmbeddingInputs<Out> {
  /** `[Na, C]`, f32 or bf16: one row for each `audioPadId` in textIds, in order */
  readonly audioRows?: Tensor<Activations> | undefined;
  /** `[Nv, C]`, f32 or bf16: one row for each `imagePadId` in textIds, in order */
  readonly visionRows?: Tensor<Activations> | undefined;
  readonly audioPadId?: number | undefined;
  readonly imagePadId?: number | undefined;
  /** The id that marks an absent id, in the text and in every codec book. Default 3. */
  readonly padId?: number | undefined;
}

/**
 * The language model's input rows for a prompt (published code of LongCat-Flash-Omni). For each position
 * `y = textTable[text] + Σ_k codecTables[k][codec_k]` over the ids that are not `padId`, or `y = textTable[padId]` if all
 * are; then audio rows replace the positions of `audioPadId`, and vision rows those of `imagePadId`. Sums are in f32 and
 * rounded once.
 *
 * @returns `[T, C]`
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` for media rows without their pad id or an unknown name. When the result is read:
 *   `INDEX_OUT_OF_RANGE` for an id outside its table, `SHAPE_MISMATCH` for more or fewer media rows than pad ids
 */
export function promptEmbedding<Out extends Activations = Activations>(
  inputs: PromptEmbeddingInputs<Out>,
): Tensor<Out, readonly [number, number]> {
  return call("promptEmbedding", {}, inputs)[0] as Tensor<Out, readonly [number, number]>;
}

/**
 * The language model's input rows for a decoding step of the speech loop, one per sequence:
 * `y = textTable[text] + Σ_k codecTables[k][codec_k]` over the ids that are not −1, or zeros if all are.
 *
 * @param inputs `textTable` `[V, C]`, `codecTables` Q × `[V_k, C]`, `textIds` i32 `[B]`, `codecIds` i32 `[B, Q]`
 * @returns `[B, C]`
 * @throws {CaracalError} as `promptEmbedding`
 */
export function stepEmbedding<Out extends Activations = Activations>(
  inputs: StepEmbeddingInputs<Out>,
): Tensor<Out, readonly [number, number]> {
  checkObject("ops.stepEmbedding", "inputs", inputs);
  checkOptionNames("ops.stepEmbedding", inputs, stepInputs);
  return call("promptEmbedding", { ...inputs, padId: -1 })[0] as Tensor<Out, readonly [number, number]>;
}
