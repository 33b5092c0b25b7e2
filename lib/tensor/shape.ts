import { CaracalError } from "../errors.js";
import { checkedList, refuseValue } from "../options.js";

/** The sizes of a tensor's dimensions. */
export type Shape = readonly number[];

/** A shape without its leading dimension. */
export type Row<S extends Shape> = S extends readonly [number, ...infer R extends number[]] ? R : number[];

declare const problem: unique symbol;
/** What the compiler shows for an argument that does not fit. No value has this type. */
export interface Problem<Message extends string> {
  readonly [problem]: Message;
}

/** To be intersected with a parameter's type: rejects the argument unless one of the conditions holds. */
export type If<Condition extends boolean, Message extends string> = true extends Condition ? unknown : Problem<Message>;

/** Rejects the shape `To` unless it can have N elements. */
export type Holding<To extends Shape, N extends number> = If<
  SameNumber<Elements<To>, N>,
  `the shape has ${Elements<To>} elements, not ${N}`
>;
type SameNumber<A extends number, B extends number> = number extends A | B
  ? true
  : [B] extends [never]
    ? true // the length of `values as never`
    : [A] extends [B]
      ? true
      : false;

/** The number of elements of a literal shape, if none of its products exceeds 99; otherwise `number`. */
export type Elements<S extends Shape> = number extends S["length"] ? number : Product<S, 1>;
type Product<S extends Shape, N extends number> = S extends readonly [
  infer D extends number,
  ...infer Rest extends number[],
]
  ? [Small<N>, Small<D>] extends [true, true]
    ? Product<Rest, Length<Repeated<List<N>, D>>>
    : number
  : N;
type Digit = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9;
type Small<N extends number> = `${N}` extends `${Digit}` | `${Digit}${Digit}` ? true : false;
type Length<L> = L extends { readonly length: infer N extends number } ? N : number;
type List<N extends number, L extends unknown[] = []> = L["length"] extends N ? L : List<N, [...L, 0]>;
/** D copies of a list, one after another. */
type Repeated<
  L extends unknown[],
  D extends number,
  All extends unknown[] = [],
  Count extends unknown[] = [],
> = Count["length"] extends D ? All : Repeated<L, D, [...All, ...L], [...Count, 0]>;

/** The number of elements of a tensor. */
export const elements = (shape: Shape) => shape.reduce((n, d) => n * d, 1);

const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;

/** The most dimensions of a tensor, `kMaxRank` of the addon. */
const maxRank = 6;

/**
 * Refuses what is not a list of integers, or a longer one than a tensor has dimensions, which is not read. Returns a
 * plain copy, as `checkedList`.
 * @throws {CaracalError} `INVALID_ARGUMENT`, or `SHAPE_MISMATCH` for too many dimensions
 */
export function checkedShape<S extends Shape>(where: string, shape: S): S;
export function checkedShape(where: string, shape: unknown): Shape {
  if (!Array.isArray(shape)) refuseValue(where, "shape", "an array of dimensions", shape);
  const { length } = shape;
  if (length > maxRank)
    throw new CaracalError("SHAPE_MISMATCH", `${where}: a tensor has at most ${maxRank} dimensions, got ${length}`, {
      argument: "shape",
      expected: `at most ${maxRank} dimensions`,
      actual: `${length}`,
    });
  return checkedList<number>(where, "shape", shape, "an array of dimensions", maxRank, (d) => {
    if (!Number.isSafeInteger(d)) refuseValue(where, "shape", "an array of integers", d);
  });
}

/**
 * Returns a plain copy of the shape.
 * @throws {CaracalError} `INVALID_ARGUMENT` for what is not a shape, `SHAPE_MISMATCH` for one of other elements
 */
export function checkedReshape(from: Shape, given: Shape): Shape {
  const shape = checkedShape("reshape", given);
  for (const d of shape) if (!isCount(d)) refuseValue("reshape", "shape", "an array of integers of at least 0", d);
  const [expected, actual] = [elements(from), elements(shape)];
  if (actual === expected) return shape;
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
