import type { DType } from "../tensor/dtype.js";
import type { Row, Shape, Tensor } from "../tensor/tensor.js";
import { type Activations, call } from "./call.js";
import type { HasRank, If } from "./shapes.js";

export interface EmbeddingOptions<Out extends Activations> {
  /** The result's dtype; the table's when left out. */
  readonly outDtype?: Out | undefined;
  /** A negative id gives a row of zeros instead of an error. */
  readonly allowNegative?: boolean | undefined;
}

/**
 * Looks rows up, `y[i] = table[ids[i]]`.
 *
 * @param table `[V, C]`, f32 or bf16
 * @param ids `[...]` i32
 * @returns `[..., C]`
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH`, `DISPOSED`; an id outside the table is found when the
 *   operation runs: reading the result then rejects with `INDEX_OUT_OF_RANGE`
 */
export function embedding<D extends Activations, S extends Shape, I extends Shape, Out extends Activations = D>(
  table: Tensor<D, S> & If<HasRank<S, 2>>,
  ids: Tensor<"i32", I>,
  options: EmbeddingOptions<Out> = {},
): Tensor<Out, readonly [...I, ...Row<S>]> {
  return call("gatherRows", { x: table, rows: ids, ...options })[0] as Tensor<Out, readonly [...I, ...Row<S>]>;
}

/**
 * Gathers rows, `y[i] = x[rows[i]]`, of any dtype.
 *
 * @param x `[R, ...]`
 * @param rows `[...]` i32, each in `[0, R)`
 * @returns the shape of `rows` followed by that of a row of x
 * @throws as `embedding`
 */
export function gatherRows<D extends DType, S extends Shape, I extends Shape>(
  x: Tensor<D, S>,
  rows: Tensor<"i32", I>,
): Tensor<D, readonly [...I, ...Row<S>]> {
  return call("gatherRows", { x, rows })[0] as Tensor<D, readonly [...I, ...Row<S>]>;
}

export interface PromptEmbeddingInputs<Out extends Activations> {
  /** `[V, C]`, f32 or bf16 */
  readonly textTable: Tensor<Activations>;
  /** Q tables `[V_k, C]` of textTable's dtype */
  readonly codecTables: readonly Tensor<Activations>[];
  /** `[T]` */
  readonly textIds: Tensor<"i32">;
  /** `[T, Q]` */
  readonly codecIds: Tensor<"i32">;
  /** `[Na, C]`, f32 or bf16: one row for each `audioPadId` in textIds, in order */
  readonly audioRows?: Tensor<Activations> | undefined;
  /** `[Nv, C]`, f32 or bf16: one row for each `imagePadId` in textIds, in order */
  readonly visionRows?: Tensor<Activations> | undefined;
  readonly audioPadId?: number | undefined;
  readonly imagePadId?: number | undefined;
  /** The id that means "nothing here", in text and codec books alike; default 3. */
  readonly padId?: number | undefined;
  /** The result's dtype; the tables' when left out. */
  readonly outDtype?: Out | undefined;
}

/**
 * The language model's input rows for a prompt (published code of LongCat-Flash-Omni). For each position
 * `y = textTable[text] + Σ_k codecTables[k][codec_k]` over the ids that are not `padId`; where all are,
 * `y = textTable[padId]`; then audio rows replace the positions of `audioPadId`, and vision rows those of
 * `imagePadId`. Sums in f32, rounded once.
 *
 * @returns `[T, C]`
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT`, `DEVICE_MISMATCH`, `DISPOSED`; found when the
 *   operation runs, so on reading the result: `INDEX_OUT_OF_RANGE` for an id outside its table, `SHAPE_MISMATCH` for
 *   media rows more or fewer than their pad ids
 */
export function promptEmbedding<Out extends Activations = Activations>(
  inputs: PromptEmbeddingInputs<Out>,
): Tensor<Out, readonly [number, number]> {
  return call("promptEmbedding", { ...inputs })[0] as Tensor<Out, readonly [number, number]>;
}

/**
 * The language model's input rows for a decoding step of the speech loop, one per sequence:
 * `y = textTable[text] + Σ_k codecTables[k][codec_k]` over the ids that are not −1; zeros where all are.
 *
 * @param inputs `textTable` `[V, C]`, `codecTables` Q × `[V_k, C]`, `textIds` i32 `[B]`, `codecIds` i32 `[B, Q]`
 * @returns `[B, C]`
 * @throws as `promptEmbedding`
 */
export function stepEmbedding<Out extends Activations = Activations>(
  inputs: Pick<PromptEmbeddingInputs<Out>, "textTable" | "codecTables" | "textIds" | "codecIds" | "outDtype">,
): Tensor<Out, readonly [number, number]> {
  return call("promptEmbedding", { ...inputs, padId: -1 })[0] as Tensor<Out, readonly [number, number]>;
}

/**
 * Stacks the rows of several tensors.
 *
 * @param xs at least one `[R_i, ...]`, alike but for the rows
 * @returns `[Σ R_i, ...]`
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT` for an empty list, `DEVICE_MISMATCH`, `DISPOSED`
 */
export function concatRows<const X extends readonly Tensor[]>(
  xs: X,
): Tensor<X[number]["dtype"], readonly [number, ...Row<X[number]["shape"]>]> {
  return call("concatRows", { x: xs })[0] as Tensor<X[number]["dtype"], readonly [number, ...Row<X[number]["shape"]>]>;
}

/** The pieces of `[..., C]`: one tensor for each width. */
export type Columns<D extends DType, S extends Shape, W extends readonly number[]> = {
  -readonly [K in keyof W]: Tensor<
    D,
    S extends readonly [...infer L extends number[], number] ? readonly [...L, W[K]] : Shape
  >;
};

/**
 * Cuts the last dimension into pieces.
 *
 * @param x `[..., C]`
 * @param widths widths that add up to C
 * @returns one tensor `[..., width]` for each
 * @throws `SHAPE_MISMATCH` when the widths do not add up, `INVALID_ARGUMENT`, `DISPOSED`
 */
export function splitColumns<D extends DType, S extends Shape, const W extends readonly number[]>(
  x: Tensor<D, S>,
  widths: W,
): Columns<D, S, W> {
  return call("splitColumns", { x, widths }) as Columns<D, S, W>;
}

/**
 * The same values as another floating type, rounded to nearest even. f8e4m3 saturates at ±448.
 *
 * @param x any dtype
 * @param dtype a floating dtype
 * @throws `DTYPE_MISMATCH`, `DISPOSED`
 */
export function cast<S extends Shape, Out extends Exclude<DType, "i32" | "u8">>(
  x: Tensor<DType, S>,
  dtype: Out,
): Tensor<Out, S> {
  return call("cast", { x, dtype })[0] as Tensor<Out, S>;
}

/**
 * Copies rows into a tensor, in place: `dst[dstRow + i] = src[i]`.
 *
 * @param dst `[R, ...]`, written
 * @param src `[r, ...]` of the same dtype; may be a view of dst
 * @param dstRow first row written; `dstRow + r <= R`
 * @throws `INDEX_OUT_OF_RANGE`, `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH`, `DISPOSED`
 */
export function copyRows<D extends DType>(dst: Tensor<D>, src: Tensor<NoInfer<D>>, dstRow = 0): void {
  call("copyRows", { dst, src, dstRow });
}

/**
 * Zeroes the padding of a batch: in sequence b, every row from `lengths[b]` on.
 *
 * @param x `[B, T, C]`, or `[B·T, C]`, of any dtype
 * @param lengths B lengths, each in `[0, T]`
 * @returns x's shape and dtype
 * @throws `SHAPE_MISMATCH`, `INVALID_ARGUMENT`, `DISPOSED`
 */
export function maskRows<D extends DType, S extends Shape>(x: Tensor<D, S>, lengths: readonly number[]): Tensor<D, S> {
  return call("maskRows", { x, lengths })[0] as Tensor<D, S>;
}
