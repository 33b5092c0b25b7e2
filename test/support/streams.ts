// Cuts sequences into pieces, to compare streaming operations with the same operations on the whole.
import type { Tensor } from "../../lib/tensor/tensor.js";
import { uniform } from "./numbers.js";

/** Random piece sizes of up to `max` that add up to `total`, beginning with 0 and 1. */
export function pieces(total: number, seed: number, max: number): number[] {
  const next = uniform(seed);
  const sizes = [0, Math.min(1, total)];
  for (let left = total - sizes[1]!; left > 0; left -= sizes.at(-1)!)
    sizes.push(Math.min(left, Math.floor(((next() + 1) / 2) * (max + 1))));
  return sizes;
}

export async function concatenated(parts: readonly Tensor[]): Promise<Float32Array> {
  const arrays = await Promise.all(parts.map((part) => part.toFloat32Array()));
  return Float32Array.from(arrays.flatMap((values) => [...values]));
}

/** Pushes the rows of x through a stream in random pieces, then an empty last one, and returns the whole output. */
export async function streamed(
  x: Tensor<"f32">,
  push: (piece: Tensor<"f32">, options: { last: boolean }) => Tensor,
  seed: number,
): Promise<Float32Array> {
  const parts: Float32Array[] = [];
  const sizes = [...pieces(x.shape[0]!, seed, 9), 0];
  let start = 0;
  for (const [i, size] of sizes.entries()) {
    using piece = x.slice(start, start + size);
    using y = push(piece as Tensor<"f32">, { last: i === sizes.length - 1 });
    parts.push(await y.toFloat32Array());
    start += size;
  }
  return Float32Array.from(parts.flatMap((values) => [...values]));
}
