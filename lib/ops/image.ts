import type { Shape, Tensor } from "../tensor/tensor.js";
import { type Activations, call } from "./call.js";
import type { Last } from "./linear.js";
import type { HasRank, If } from "./shapes.js";

/**
 * Resizes an 8-bit image as Pillow's `BICUBIC` does, to the bit: cubic kernel with a = −1/2, widened when shrinking,
 * in fixed point; first the rows, rounded to 8 bits, then the columns.
 *
 * @param image `[H, W, channels]` u8, not empty
 * @param size `[height, width]` in pixels
 * @returns `[height, width, channels]` u8
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT`, `DISPOSED`
 */
export function resizeBicubic<S extends Shape, H extends number, W extends number>(
  image: Tensor<"u8", S> & If<HasRank<S, 3>>,
  size: readonly [H, W],
): Tensor<"u8", readonly [H, W, Last<S>]> {
  const [height, width] = size;
  return call("resizeBicubic", { image, height, width })[0] as Tensor<"u8", readonly [H, W, Last<S>]>;
}

export interface PatchifyOptions {
  /** Side of a patch in pixels; default 14. */
  readonly patch?: number | undefined;
  /** Frames in a patch; default 2. */
  readonly temporal?: number | undefined;
  /** Patches come block by block of mergeSize × mergeSize; default 1, which is raster order. */
  readonly mergeSize?: number | undefined;
  /** Per channel, of values in [0, 1]. */
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

/**
 * Cuts an image or a frame pair into the rows that a vision transformer reads. A row is ordered
 * (channel, time, row, column); a value is `(v / 255 − mean) / std`. An image stands for `temporal` equal frames.
 *
 * @param frames `[H, W, 3]` or `[temporal, H, W, 3]`, u8; sides divisible by patch · mergeSize
 * @returns `[H/patch · W/patch, 3 · temporal · patch²]` f32
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT`, `DISPOSED`
 */
export function patchify<T extends Tensor<"u8">>(
  frames: T & If<HasRank<T["shape"], 3 | 4>>,
  options: PatchifyOptions,
): Tensor<"f32", readonly [number, number]> {
  return call("patchify", { frames, ...options })[0] as Tensor<"f32", readonly [number, number]>;
}

/**
 * Row and column of every patch, in the order in which `patchify` gives them: the positions that 2-D rotary embedding
 * takes.
 *
 * @param grid patches down and across, both divisible by mergeSize
 * @returns pairs (row, column), `2 · rows · columns` numbers
 */
export function patchPositions(grid: readonly [number, number], options: { mergeSize?: number } = {}): Int32Array {
  const [rows, columns] = grid;
  const m = options.mergeSize ?? 1;
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

/**
 * Bilinear interpolation of a grid of token vectors to another size: half-pixel centres, clamped edges, no
 * antialiasing, in f32. Compresses the visual tokens of long videos.
 *
 * @param x `[h·w, C]`, f32 or bf16, raster order
 * @param sizes `from: [h, w]`, `to: [h', w']`
 * @returns `[h'·w', C]` of x's dtype
 * @throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ARGUMENT`, `DISPOSED`
 */
export function interpolateTokens<D extends Activations, S extends Shape>(
  x: Tensor<D, S> & If<HasRank<S, 2>>,
  sizes: { readonly from: readonly [number, number]; readonly to: readonly [number, number] },
): Tensor<D, readonly [number, Last<S>]> {
  const [height, width] = sizes.from;
  const [toHeight, toWidth] = sizes.to;
  return call("interpolateTokens", { x, height, width, toHeight, toWidth })[0] as Tensor<D, readonly [number, Last<S>]>;
}
