import type { DType } from "../tensor/dtype.js";
import type { Row, Shape, Tensor } from "../tensor/tensor.js";
import { call } from "./call.js";
import { listFor } from "./lists.js";
import type { If, Matches, Shaped } from "./shapes.js";

/**
 * Gathers rows of any dtype, `y[i] = x[rows[i]]`.
 *
 * @param x `[R, ...]`
 * @param rows `[...]` i32, each in `[0, R)`
 * @returns the shape of `rows` followed by that of a row of x
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors. When
 *   the result is read: `INDEX_OUT_OF_RANGE` for a row outside x
 */
export function gatherRows<D extends DType, S extends Shape, I extends Shape>(
  x: Tensor<D, S>,
  rows: Tensor<"i32", I>,
): Tensor<D, readonly [...I, ...Row<S>]> {
  return call("gatherRows", { x, rows })[0] as Tensor<D, readonly [...I, ...Row<S>]>;
}

/**
 * Stacks the rows of several tensors.
 *
 * @param xs at least one `[R_i, ...]`, of one dtype and one shape of rows
 * @returns `[Σ R_i, ...]`
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors,
 *   `INVALID_ARGUMENT` for an empty list
 */
export function concatRows<const X extends readonly Tensor[]>(
  xs: X & If<SameRows<X>, "all tensors must have the same dtype and the same shape of rows">,
): Tensor<X[number]["dtype"], readonly [number, ...Row<X[number]["shape"]>]> {
  return call("concatRows", { x: xs })[0] as Tensor<X[number]["dtype"], readonly [number, ...Row<X[number]["shape"]>]>;
}

/** Whether all tensors of a list can have the dtype and the shape of rows of the first. */
export type SameRows<X extends readonly Tensor[]> = X extends readonly [
  Tensor<infer D, infer S>,
  ...infer Rest extends readonly Tensor[],
]
  ? Rest[number] extends infer T
    ? false extends (T extends Tensor<infer E, infer R> ? SameRow<D, S, E, R> : never)
      ? false
      : true
    : never
  : true;
type SameRow<D extends DType, S extends Shape, E extends DType, R extends Shape> = [D & E] extends [never]
  ? false
  : Matches<Row<S>, Row<R>>;

/** The pieces of `[..., C]`: one tensor per width. */
export type Columns<D extends DType, S extends Shape, W extends readonly number[]> = {
  -readonly [K in keyof W]: Tensor<
    D,
    S extends readonly [...infer L extends number[], number] ? readonly [...L, W[K]] : Shape
  >;
};

/**
 * Splits the last dimension into pieces.
 *
 * @param x `[..., C]`
 * @param widths widths whose sum is C
 * @returns one tensor `[..., width]` per width
 * @throws {CaracalError} `SHAPE_MISMATCH` when the widths do not add up, `INVALID_ARGUMENT` for a width outside
 *   `[0, C]` or more than C widths (or 1024, some of which may be 0), `DISPOSED`
 */
export function splitColumns<D extends DType, S extends Shape, const W extends readonly number[]>(
  x: Tensor<D, S>,
  widths: W,
): Columns<D, S, W> {
  const list = listFor<number>("ops.splitColumns", "widths", widths, x, (shape) => shape.at(-1) ?? 0);
  return call("splitColumns", { x, widths: list }) as Columns<D, S, W>;
}

/**
 * Exchanges rows and columns, `y[c][r] = x[r][c]`.
 *
 * @param x `[R, C]`, any dtype
 * @returns `[C, R]`
 * @throws {CaracalError} `SHAPE_MISMATCH` for another rank, `DISPOSED`
 */
export function transpose<D extends DType, R extends number, C extends number>(
  x: Tensor<D, readonly [R, C]>,
): Tensor<D, readonly [C, R]> {
  return call("transpose", { x })[0] as Tensor<D, readonly [C, R]>;
}

/**
 * Converts to a floating dtype, rounding to nearest even. f8e4m3 saturates at ±448.
 *
 * @param x any dtype
 * @param dtype a floating dtype
 * @returns x's shape
 * @throws {CaracalError} `DTYPE_MISMATCH` for an integer dtype, `DISPOSED`
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
 * @param dstRow the first row to write; `dstRow + r <= R`
 * @throws {CaracalError} `INDEX_OUT_OF_RANGE` when the rows do not fit; `SHAPE_MISMATCH`, `DTYPE_MISMATCH`,
 *   `DEVICE_MISMATCH` or `DISPOSED` for unsuitable tensors
 */
export function copyRows<D extends DType, S extends Shape, X extends Tensor<NoInfer<D>>>(
  dst: Tensor<D, S>,
  src: X & Shaped<X["shape"], readonly [number, ...Row<S>]>,
  dstRow = 0,
): void {
  call("copyRows", { dst, src, dstRow });
}

/**
 * Copies a padded batch with its padding zeroed: in sequence b, every row from `lengths[b]` on.
 *
 * @param x `[B, T, C]`, or `[B·T, C]`, of any dtype
 * @param lengths B lengths, each in `[0, T]`
 * @returns x's shape and dtype
 * @throws {CaracalError} `SHAPE_MISMATCH` when the rows cannot be divided among the lengths, `INVALID_ARGUMENT` for a
 *   length outside `[0, T]` or no lengths, `DISPOSED`
 */
export function maskRows<D extends DType, S extends Shape>(x: Tensor<D, S>, lengths: readonly number[]): Tensor<D, S> {
  const rows = (shape: Shape) => shape.slice(0, -1).reduce((product, size) => product * size, 1);
  const list = listFor<number>("ops.maskRows", "lengths", lengths, x, rows);
  return call("maskRows", { x, lengths: list })[0] as Tensor<D, S>;
}
