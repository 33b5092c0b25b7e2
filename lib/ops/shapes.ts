// What the compiler can say of shapes. A dimension typed `number`, and a shape of unknown rank, match anything: they
// are checked when the operation is called.
import type { Shape } from "../tensor/tensor.js";

/** Whether two shapes may be the same. */
export type Matches<A extends Shape, B extends Shape> = number extends A["length"] | B["length"]
  ? true
  : A extends readonly [infer X extends number, ...infer P extends number[]]
    ? B extends readonly [infer Y extends number, ...infer Q extends number[]]
      ? number extends X | Y
        ? Matches<P, Q>
        : X extends Y
          ? Matches<P, Q>
          : false
      : false
    : B extends readonly []
      ? true
      : false;

/** Intersected with a parameter's type, lets it through only if one of the conditions holds. */
export type If<Condition extends boolean> = true extends Condition ? unknown : never;

/** Whether a shape may have one of these ranks. */
export type HasRank<S extends Shape, R extends number> = number extends S["length"]
  ? true
  : S["length"] extends R
    ? true
    : false;
