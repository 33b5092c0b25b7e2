import { uniform } from "../../support/numbers.js";

/** Splits samples into random pieces of at most `longest` samples, some of them empty. */
export function* pieces(samples: Float32Array, longest: number, seed: number): Generator<Float32Array> {
  const next = uniform(seed);
  for (let at = 0; at < samples.length; ) {
    const size = Math.max(0, Math.floor(((next() + 1) / 2) * (longest + 1)));
    yield samples.subarray(at, at + size);
    at += size;
  }
}
