import type { DType } from "../tensor/dtype.js";

/**
 * One tensor of a checkpoint, still on disk: little-endian, row-major, contiguous at `offset` in `file`.
 * `dtype` may be one that files hold but tensors do not (`f64`, `i64`, …); it is refused only when it is used.
 */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: DType | "f64" | "i64" | "i16" | "i8" | "bool";
  readonly shape: readonly number[];
  readonly file: string;
  readonly offset: number;
  readonly byteLength: number;
}
