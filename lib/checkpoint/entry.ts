import { type DType, dtypeBytes } from "../tensor/dtype.js";

/** The dtypes that a checkpoint may hold: those of tensors, and some that exist in files only. */
export type EntryDType = DType | "f64" | "i64" | "i16" | "i8" | "bool";

/**
 * One tensor of a checkpoint, still on disk: little-endian, row-major and contiguous at byte `offset` of `file`.
 * A `dtype` that no operation takes (`f64`, `i64`, …) is refused only when the tensor is used.
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

/** The number of elements of `shape`: 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((count, size) => count * size, 1);
}

/** The bytes of a tensor. For an absurd `shape` this is no safe integer, and so equals no file's size. */
export function entryBytes(dtype: EntryDType, shape: readonly number[]): number {
  return elementCount(shape) * entryDTypeBytes[dtype];
}
