import { type Activations, activationsRule } from "../../ops/call.js";
import { type OptionRule, oneOf, optional, positiveInteger } from "../../options.js";

/** The size of a cache. */
export interface KvCacheOptions {
  /** Attention modules; each stores one row per token. */
  readonly modules: number;
  /** Values per row: the compressed key-value vector, then the rotated key. */
  readonly width: number;
  /** Capacity in tokens, over all sequences; rounded up to whole blocks. */
  readonly tokens: number;
  /** Tokens per block. Default 64. */
  readonly blockSize?: number;
  /** Default f32. */
  readonly dtype?: Activations;
}
/** @internal */
export const kvCacheOptions = {
  modules: { accepts: (n) => positiveInteger.accepts(n) && (n as number) <= 4096, expected: "an integer in [1, 4096]" },
  width: positiveInteger,
  tokens: positiveInteger,
  blockSize: optional(positiveInteger),
  dtype: activationsRule,
} satisfies Record<keyof KvCacheOptions, OptionRule>;

/** Options of `KvCache.append`. */
export interface AppendOptions {
  /** Minimum width of the block table; unused entries are 0. Default 1. */
  readonly minWidth?: number | undefined;
  /**
   * Describes each new row as a sequence of its own that ends with it, so that `mlaDecode` can compute all rows at once:
   * B is then T. Default false.
   */
  readonly rowByRow?: boolean | undefined;
}
/** @internal */
export const appendOptions = {
  minWidth: optional({
    accepts: (n) => positiveInteger.accepts(n) && (n as number) <= 2 ** 20,
    expected: "an integer in [1, 2^20]",
  }),
  rowByRow: optional(oneOf(true, false)),
} satisfies Record<keyof AppendOptions, OptionRule>;
