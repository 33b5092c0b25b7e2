import { CaracalError } from "../errors.js";
import { type CodeDType, codeDtypes, type DType, dtypes } from "../native/operations.js";
import { refuseValue } from "../options.js";
import { elements, type Shape } from "./shape.js";

export { type CodeDType, codeDtypes, type DType, dtypes };

/** @internal Whether tensors may have a dtype of this name. */
export const isDType = (name: string): name is DType => (dtypes as readonly string[]).includes(name);

/** Bytes of one element. */
export const dtypeBytes: Readonly<Record<DType | CodeDType, number>> = {
  f32: 4,
  f16: 2,
  bf16: 2,
  f8e4m3: 1,
  i32: 4,
  u8: 1,
  q4: 0.5,
  q8: 1,
};

/** The TypedArray for the raw elements of a dtype. JavaScript has no arrays of its own for the 8- and 16-bit floats. */
export interface RawArray {
  f32: Float32Array;
  f16: Uint16Array;
  bf16: Uint16Array;
  f8e4m3: Uint8Array;
  i32: Int32Array;
  u8: Uint8Array;
}

/** The elements of a buffer as the TypedArray of their dtype. */
export function rawArray<D extends DType>(dtype: D, buffer: ArrayBuffer): RawArray[D];
export function rawArray(dtype: DType, buffer: ArrayBuffer): RawArray[DType] {
  switch (dtype) {
    case "f32":
      return new Float32Array(buffer);
    case "i32":
      return new Int32Array(buffer);
    case "bf16":
    case "f16":
      return new Uint16Array(buffer);
    case "f8e4m3":
    case "u8":
      return new Uint8Array(buffer);
  }
}

/** The values that fill a tensor; see `Device.tensor`. */
export type Values = Float32Array | Float64Array | Int32Array | Uint16Array | Uint8Array | readonly number[];

/**
 * Values as a TypedArray: plain numbers become one that can fill a tensor of the dtype.
 * @throws {CaracalError} `INVALID_ARGUMENT` when a value is not a number, or one that an integer dtype cannot hold;
 *   `SHAPE_MISMATCH` when a list has another length than the shape, before any memory is taken for it
 */
export function typedArray(
  where: string,
  dtype: DType,
  values: Values,
  shape: Shape,
): Exclude<Values, readonly number[]> {
  if (ArrayBuffer.isView(values)) return values;
  if (!Array.isArray(values)) refuseValue(where, "values", "an array of numbers or a TypedArray", values);
  const [expected, actual] = [elements(shape), values.length];
  if (actual !== expected)
    throw new CaracalError(
      "SHAPE_MISMATCH",
      `${where}: shape [${shape.join(", ")}] has ${expected} elements, got ${actual} values`,
      { argument: "values", expected: `${expected}`, actual: `${actual}` },
    );
  const [low, high] = dtype === "i32" ? ([-(2 ** 31), 2 ** 31 - 1] as const) : ([0, 255] as const);
  const integers = dtype === "i32" || dtype === "u8";
  // f32 is no step between: numbers are rounded to it on their way to any floating-point dtype.
  const types = { i32: Int32Array, u8: Uint8Array, f32: Float32Array };
  const array = allocate<Int32Array | Uint8Array | Float32Array>(types[integers ? dtype : "f32"], actual);
  for (let i = 0; i < array.length; i++) {
    const value: unknown = values[i];
    if (typeof value !== "number") refuseValue(where, `values[${i}]`, "a number", value);
    if (integers && !(Number.isInteger(value) && value >= low && value <= high))
      refuseValue(where, `values[${i}]`, `an integer in [${low}, ${high}] for ${dtype}`, value);
    array[i] = value;
  }
  return array;
}

function allocate<T>(type: new (length: number) => T, length: number): T {
  try {
    return new type(length);
  } catch (cause) {
    throw new CaracalError("OUT_OF_MEMORY", `there is no room for ${length} values`, { length }, { cause });
  }
}
