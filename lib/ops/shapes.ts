// Checks of shapes at compile time. A dimension of type `number` and a shape of unknown rank match anything, since the
// operation checks them when it is called.
import type { Shape } from "../tensor/tensor.js";

/** Whether two shapes can be equal. */
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

/** To be intersected with a parameter's type: rejects the argument unless one of the conditions holds. */
export type If<Condition extends boolean> = true extends Condition ? unknown : never;

/** Whether a shape can have one of the ranks R. */
export type HasRank<S extends Shape, R extends number> = number extends S["length"]
  ? true
  : S["length"] extends R
    ? true
    : false;
