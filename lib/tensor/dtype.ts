import { type DType, dtypes } from "../native/operations.js";

export { type DType, dtypes };

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

/** Elements to fill a tensor with; see `Device.tensor`. */
export type Values = Float32Array | Float64Array | Int32Array | Uint16Array | Uint8Array | readonly number[];

/** Values as a TypedArray; plain numbers become one that the dtype can be filled from. */
export function toArray(dtype: DType, values: Values): Exclude<Values, readonly number[]> {
  if (ArrayBuffer.isView(values)) return values;
  if (dtype === "i32") return Int32Array.from(values);
  if (dtype === "u8") return Uint8Array.from(values);
  return Float64Array.from(values);
}
