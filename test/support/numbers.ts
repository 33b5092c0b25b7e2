// Seeded inputs and error measures that all tests share.

/** A seeded generator of uniform numbers in [-1, 1) (mulberry32). */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (((t ^ (t >>> 14)) >>> 0) / 4294967296) * 2 - 1;
  };
}

export function randomArray(n: number, seed: number, scale = 1): Float32Array {
  const next = uniform(seed);
  return Float32Array.from({ length: n }, () => next() * scale);
}

/** n ids in [0, below). */
export function randomIds(n: number, below: number, seed: number): Int32Array {
  const next = uniform(seed);
  return Int32Array.from({ length: n }, () => Math.floor(((next() + 1) / 2) * below));
}

/** `value` rounded to the nearest bf16 (ties to even). */
export function bf16(value: number): number {
  const f = new Float32Array([value]);
  const u = new Uint32Array(f.buffer);
  if (Number.isNaN(value)) return value;
  u[0] = (u[0]! + 0x7fff + ((u[0]! >>> 16) & 1)) & 0xffff0000;
  return f[0]!;
}

/** ‖actual − expected‖ / ‖expected‖; NaN anywhere gives NaN, which no tolerance passes. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.NaN;
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return norm === 0 ? Math.sqrt(difference) : Math.sqrt(difference / norm);
}

/** Matrices with rows of one element, of whole vectors, of an odd number, and of a model. */
export const matrixShapes = [
  [1, 1],
  [3, 16],
  [5, 37],
  [7, 160],
  [2, 6144],
] as const;

/** The instruction sets up to the best one of a machine. */
export const isas = (best: string): ("scalar" | "avx2" | "avx512")[] => {
  const all = ["scalar", "avx2", "avx512"] as const;
  return all.slice(0, all.indexOf(best as (typeof all)[number]) + 1);
};
