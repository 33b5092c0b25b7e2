import { type DType, dtypeBytes } from "../tensor/dtype.js";

/** What a checkpoint may hold: the dtypes of tensors, and some that files have but tensors do not. */
export type EntryDType = DType | "f64" | "i64" | "i16" | "i8" | "bool";

/**
 * One tensor of a checkpoint, still on disk: little-endian, row-major, contiguous at `offset` in `file`.
 * A `dtype` that no operation takes (`f64`, `i64`, …) is refused only when it is used.
 */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: EntryDType;
  readonly shape: readonly number[];
  readonly file: string;
  readonly offset: number;
  readonly byteLength: number;
}

/** Bytes of one element. */
export const entryDTypeBytes: Readonly<Record<EntryDType, number>> = {
  ...dtypeBytes,
  f64: 8,
  i64: 8,
  i16: 2,
  i8: 1,
  bool: 1,
};

/** Number of elements of `shape`: 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((count, size) => count * size, 1);
}

/** Bytes of a tensor; not a safe integer (and so equal to no file's size) when `shape` is absurd. */
export function entryBytes(dtype: EntryDType, shape: readonly number[]): number {
  return elementCount(shape) * entryDTypeBytes[dtype];
}
