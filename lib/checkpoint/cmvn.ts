import type { KaldiMatrix } from "./formats/kaldi.js";
import { invalid } from "./problems.js";

/** Cepstral mean and variance normalisation, `(x − mean) · istd`, per feature. */
export interface Cmvn {
  readonly mean: Float64Array;
  readonly istd: Float64Array;
}

/**
 * Converts Kaldi's global statistics `[2, D + 1]` to a normalisation. Row 0 holds the sums and the frame count, row 1
 * the sums of squares: `mean = s₁/n`, `istd = 1 / max(ε, sqrt(s₂/n − mean²))` with ε = 2⁻²³, as in the published
 * feature code.
 * @throws {CaracalError} `CHECKPOINT_INVALID` when the matrix holds no such statistics
 */
export function cmvnFromStats({ rows, cols, data }: KaldiMatrix, file: string): Cmvn {
  if (rows !== 2 || cols < 2) throw invalid(file, `expected CMVN statistics [2, features + 1], got [${rows}, ${cols}]`);
  const count = data[cols - 1]!;
  if (!(count > 0) || !data.every(Number.isFinite))
    throw invalid(file, "CMVN sums must be finite and their frame count above 0");
  const mean = data.slice(0, cols - 1).map((sum) => sum / count);
  const variance = mean.map((m, i) => data[cols + i]! / count - m * m);
  const negative = variance.findIndex((v, i) => v < -1e-6 * (1 + mean[i]! ** 2)); // beyond rounding errors
  if (negative >= 0) throw invalid(file, `the variance of feature ${negative} is negative (${variance[negative]})`);
  return { mean, istd: variance.map((v) => 1 / Math.max(2 ** -23, Math.sqrt(Math.max(0, v)))) };
}
