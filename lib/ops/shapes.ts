// Checks of shapes at compile time. A dimension of type `number` and a shape of unknown rank match anything, since the
// operation checks them when it is called.
import type { If, Problem } from "../tensor/shape.js";
import type { Shape } from "../tensor/tensor.js";

export type { If, Problem };

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

/** A shape as messages show it: `[*, 8]`, where `*` is a dimension of type `number`. */
export type ShapeText<S extends Shape> = number extends S["length"] ? "[...]" : `[${Joined<S>}]`;
type Joined<S extends Shape> = S extends readonly [infer X extends number, ...infer Rest extends number[]]
  ? `${number extends X ? "*" : X}${Rest extends readonly [] ? "" : `, ${Joined<Rest>}`}`
  : "";

/** To be intersected with the type of a tensor of shape S: rejects it unless its shape can be `Want`. */
export type Shaped<S extends Shape, Want extends Shape> = If<
  Matches<S, Want>,
  `the shape must be ${ShapeText<Want>}, not ${ShapeText<S>}`
>;

/** To be intersected with the type of a tensor of shape S: rejects it unless it can have one of the ranks R. */
export type Ranked<S extends Shape, R extends number> = If<
  number extends S["length"] ? true : S["length"] extends R ? true : false,
  `the shape must have ${R} dimensions, not ${S["length"]}`
>;

/** `[..., K]` with its last dimension replaced by `N`. */
export type WithLast<S extends Shape, N extends number> = S extends readonly [...infer Lead extends number[], number]
  ? readonly [...Lead, N]
  : Shape;

/** The last dimension of a shape. */
export type Last<S extends Shape> = S extends readonly [...number[], infer L extends number] ? L : number;

/** N + 1. */
export type PlusOne<N extends number> = number extends N
  ? number
  : Incremented<`${N}`> extends `${infer M extends number}`
    ? M
    : number;
type Incremented<Digits extends string> = Digits extends `${infer Head}9`
  ? `${Head extends "" ? "1" : Incremented<Head>}0`
  : Digits extends `${infer Head}${keyof NextDigit}`
    ? Digits extends `${Head}${infer Tail extends keyof NextDigit}`
      ? `${Head}${NextDigit[Tail]}`
      : never
    : never;
interface NextDigit {
  "0": "1";
  "1": "2";
  "2": "3";
  "3": "4";
  "4": "5";
  "5": "6";
  "6": "7";
  "7": "8";
  "8": "9";
}
