import { checkObject, checkOptionNames, refuseValue } from "../options.js";
import type { Shape, Tensor } from "../tensor/tensor.js";
import { type Activations, call, checkedPair } from "./call.js";
import type { Last, Ranked } from "./shapes.js";

/**
 * Resizes an 8-bit image bit for bit as Pillow's `BICUBIC` does: a cubic kernel with a = −1/2, widened when shrinking, in
 * fixed point; a horizontal pass rounded to 8 bits, then a vertical one.
 *
 * @param image `[H, W, channels]` u8, not empty
 * @param size `[height, width]` in pixels
 * @returns `[height, width, channels]` u8
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH` or `DISPOSED` for an unsuitable image, `INVALID_ARGUMENT`
 *   for a side outside [1, 2¹⁶] or more than 2³⁰ bytes
 */
export function resizeBicubic<S extends Shape, H extends number, W extends number>(
  image: Tensor<"u8", S> & Ranked<S, 3>,
  size: readonly [H, W],
): Tensor<"u8", readonly [H, W, Last<S>]> {
  const [height, width] = checkedPair("ops.resizeBicubic", "size", size);
  return call("resizeBicubic", { image, height, width })[0] as Tensor<"u8", readonly [H, W, Last<S>]>;
}

/** Options of `patchify`. */
export interface PatchifyOptions {
  /** The side of a patch in pixels. Default 14. */
  readonly patch?: number | undefined;
  /** The number of frames in a patch. Default 2. */
  readonly temporal?: number | undefined;
  /** Patches are ordered by blocks of mergeSize × mergeSize. Default 1, which is raster order. */
  readonly mergeSize?: number | undefined;
  /** Per channel, for values in [0, 1]. */
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

/**
 * Cuts frames into the patch rows of a vision transformer. A row is ordered (channel, time, row, column), and a value is
 * `(v / 255 − mean) / std`. A single image serves as `temporal` equal frames.
 *
 * @param frames `[H, W, 3]` or `[temporal, H, W, 3]`, u8; sides divisible by patch · mergeSize
 * @returns `[H/patch · W/patch, 3 · temporal · patch²]` f32
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH` or `DISPOSED` for unsuitable frames, `INVALID_ARGUMENT` when
 *   an option is unknown or out of range
 */
export function patchify<T extends Tensor<"u8">>(
  frames: T & Ranked<T["shape"], 3 | 4>,
  options: PatchifyOptions,
): Tensor<"f32", readonly [number, number]> {
  return call("patchify", { frames }, options)[0] as Tensor<"f32", readonly [number, number]>;
}

/** Options of `patchPositions`. */
export interface PatchPositionsOptions {
  /** As for `patchify`. Default 1. */
  readonly mergeSize?: number;
}
/** More patches than any image or video may have. */
const maxPatches = 2 ** 26;
const patchPositionsOptions = { mergeSize: true } satisfies Record<keyof PatchPositionsOptions, true>;

/**
 * The row and column of every patch in the order of `patchify`: the positions for 2-D rotary embedding.
 *
 * @param grid the numbers of patches down and across, both divisible by mergeSize
 * @returns pairs (row, column), `2 · rows · columns` numbers
 * @throws {CaracalError} `INVALID_ARGUMENT` when an option is unknown or the grid is not one of blocks
 */
export function patchPositions(grid: readonly [number, number], options: PatchPositionsOptions = {}): Int32Array {
  checkOptionNames("ops.patchPositions", options, patchPositionsOptions);
  const [rows, columns] = checkedPair("ops.patchPositions", "grid", grid);
  const m = options.mergeSize ?? 1;
  if (!Number.isInteger(m) || m < 1) refuseValue("ops.patchPositions", "mergeSize", "a positive integer", m);
  for (const n of [rows, columns])
    if (!Number.isInteger(n) || n < 0 || n % m !== 0)
      refuseValue("ops.patchPositions", "grid", `two multiples of mergeSize ${m}`, n);
  if (!(rows * columns <= maxPatches))
    refuseValue("ops.patchPositions", "grid", `a grid of at most ${maxPatches} patches`, grid);
  const positions = new Int32Array(2 * rows * columns);
  const across = columns / m;
  for (let i = 0; i < rows * columns; i++) {
    const block = Math.floor(i / (m * m));
    const inside = i % (m * m);
    positions[2 * i] = Math.floor(block / across) * m + Math.floor(inside / m);
    positions[2 * i + 1] = (block % across) * m + (inside % m);
  }
  return positions;
}

/** The grids of `interpolateTokens`. */
export interface InterpolateTokensSizes {
  /** `[h, w]` */
  readonly from: readonly [number, number];
  /** `[h', w']` */
  readonly to: readonly [number, number];
}
const interpolateTokensSizes = { from: true, to: true } satisfies Record<keyof InterpolateTokensSizes, true>;

/**
 * Bilinear interpolation of a grid of token vectors to another size, in f32: half-pixel centres, clamped edges, no
 * antialiasing. It compresses the visual tokens of long videos.
 *
 * @param x `[h·w, C]`, f32 or bf16, in raster order
 * @returns `[h'·w', C]` of x's dtype
 * @throws {CaracalError} `SHAPE_MISMATCH`, `DTYPE_MISMATCH` or `DISPOSED` for an unsuitable x, `INVALID_ARGUMENT` for a
 *   side outside [1, 2¹³] or an unknown name
 */
export function interpolateTokens<D extends Activations, S extends Shape>(
  x: Tensor<D, S> & Ranked<S, 2>,
  sizes: InterpolateTokensSizes,
): Tensor<D, readonly [number, Last<S>]> {
  checkOptionNames("ops.interpolateTokens", sizes, interpolateTokensSizes);
  checkObject("ops.interpolateTokens", "sizes", sizes);
  const [height, width] = checkedPair("ops.interpolateTokens", "from", sizes.from);
  const [toHeight, toWidth] = checkedPair("ops.interpolateTokens", "to", sizes.to);
  return call("interpolateTokens", { x, height, width, toHeight, toWidth })[0] as Tensor<D, readonly [number, Last<S>]>;
}
