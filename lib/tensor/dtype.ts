/** Element types of a tensor. `f8e4m3` is the OCP E4M3 format without infinities (torch `float8_e4m3fn`). */
export const dtypes = ["f32", "f16", "bf16", "f8e4m3", "i32", "u8"] as const;
export type DType = (typeof dtypes)[number];

/** Bytes of one element. */
export const dtypeBytes: Readonly<Record<DType, number>> = { f32: 4, f16: 2, bf16: 2, f8e4m3: 1, i32: 4, u8: 1 };

/** The TypedArray that holds a dtype's raw elements; the 16- and 8-bit floats have none of their own in JavaScript. */
export interface RawArray {
  f32: Float32Array;
  f16: Uint16Array;
  bf16: Uint16Array;
  f8e4m3: Uint8Array;
  i32: Int32Array;
  u8: Uint8Array;
}
