import { type DType, dtypeBytes } from "../tensor/dtype.js";

/** Bits of one element, for dtypes that exist in files only. */
const fileDTypeBits = {
  f64: 64,
  c64: 64,
  i64: 64,
  u64: 64,
  u32: 32,
  i16: 16,
  u16: 16,
  i8: 8,
  bool: 8,
  f8e5m2: 8,
  f8e8m0: 8,
  f6e2m3: 6,
  f6e3m2: 6,
  f4: 4,
} as const;

/** A dtype of tensors, one that exists in files only, or the name that a file gives to another one. */
export type EntryDType = DType | keyof typeof fileDTypeBits | (string & Record<never, never>);

/**
 * One tensor of a checkpoint, still on disk: little-endian, row-major and contiguous at byte `offset` of `file`.
 * A `dtype` that no operation takes (`f64`, `u32`, one with an unknown name) is refused only when the tensor is used.
 */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: EntryDType;
  readonly shape: readonly number[];
  readonly file: string;
  readonly offset: number;
  readonly byteLength: number;
  /** The file that was described, as `fileVersion` gives it. If it is known, no other file or state of it is loaded. */
  readonly version?: string | undefined;
}

/** Tensors by their names. */
export type TensorMap = ReadonlyMap<string, TensorEntry>;

const bits = new Map<string, number>([
  ...Object.entries(dtypeBytes).map(([dtype, bytes]) => [dtype, 8 * bytes] as const),
  ...Object.entries(fileDTypeBits),
]);

/** Whether the size of the elements is known. */
export const isKnownDType = (dtype: EntryDType): boolean => bits.has(dtype);

/** The number of elements of `shape`: 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((count, size) => count * size, 1);
}

/** The bytes of a tensor of a known dtype. For an absurd `shape` this is no safe integer, and so equals no file's size. */
export function entryBytes(dtype: EntryDType, shape: readonly number[]): number {
  return (elementCount(shape) * bits.get(dtype)!) / 8;
}
