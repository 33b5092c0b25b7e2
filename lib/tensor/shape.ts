import { CaracalError } from "../errors.js";
import { refuseValue } from "../options.js";

export type Shape = readonly number[];

/** A shape without its leading dimension. */
export type Row<S extends Shape> = S extends readonly [number, ...infer R extends number[]] ? R : number[];

/** The number of elements of a tensor. */
export const elements = (shape: Shape) => shape.reduce((n, d) => n * d, 1);

const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;

/** @throws {CaracalError} `INVALID_ARGUMENT` for what is not a shape, `SHAPE_MISMATCH` for one of other elements */
export function checkReshape(from: Shape, shape: Shape): void {
  if (!Array.isArray(shape)) refuseValue("reshape", "shape", "an array of dimensions", shape);
  for (const d of shape) if (!isCount(d)) refuseValue("reshape", "shape", "an array of integers of at least 0", d);
  const [expected, actual] = [elements(from), elements(shape)];
  if (actual === expected) return;
  throw new CaracalError(
    "SHAPE_MISMATCH",
    `reshape: [${shape.join(", ")}] has ${actual} elements, the tensor [${from.join(", ")}] has ${expected}`,
    { argument: "shape", expected, actual },
  );
}

/** @throws {CaracalError} `INVALID_ARGUMENT` for what is not an integer, `SHAPE_MISMATCH` for rows that do not exist */
export function checkSlice(shape: Shape, start: number, end: number): void {
  if (!Number.isSafeInteger(start)) refuseValue("slice", "start", "an integer", start);
  if (!Number.isSafeInteger(end)) refuseValue("slice", "end", "an integer", end);
  const rows = shape[0];
  if (rows !== undefined && start >= 0 && start <= end && end <= rows) return;
  throw new CaracalError(
    "SHAPE_MISMATCH",
    `slice: a tensor of shape [${shape.join(", ")}] has no rows [${start}, ${end})`,
    { expected: `in [0, ${rows ?? 0}]`, actual: `[${start}, ${end})` },
  );
}
