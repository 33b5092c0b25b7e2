import { type Case, outgrowsCaches } from "./case.js";
import type { MachinePeaks } from "./peaks.js";

/**
 * What bounds the time of an operation from below. `cache`: its operands lie in a cache whose throughput is not measured,
 * so that neither memory nor arithmetic bounds it.
 */
export type LimitName = "FMA" | "matrix" | "read" | "cache";

export interface Limit {
  readonly limit: LimitName;
  /** The lower bound of the time; none for `cache`. */
  readonly milliseconds?: number;
}

/** The limit that binds an operation whose calls find everything but `coldBytes` in a cache, if it fits there. */
export function limitOf(
  { unit, work, coldBytes = 0 }: Pick<Case, "unit" | "work" | "coldBytes">,
  peaks: MachinePeaks,
): Limit {
  const gflops = (unit === "matrix" ? peaks.matrixGflops : peaks.fmaGflops).best;
  const arithmetic = unit === "scalar" ? 0 : (work.flops ?? 0) / (gflops * 1e6);
  const reading = (bytes: number) => bytes / (peaks.readGBps.best * 1e6);
  const memory = reading(work.bytes >= outgrowsCaches ? work.bytes : coldBytes);
  if (memory > 0 && memory >= arithmetic) return { limit: "read", milliseconds: memory };
  if (memory === 0 && arithmetic < reading(work.bytes)) return { limit: "cache" };
  return { limit: unit === "matrix" ? "matrix" : "FMA", milliseconds: arithmetic };
}

/** What a reader must know before trusting the shares of the peaks that a benchmark shows. */
export function peakWarnings(peaks: MachinePeaks, shares: readonly (number | undefined)[]): string[] {
  const percent = (share: number) => `${Math.round(100 * share)} %`;
  const warnings: string[] = [];
  const impossible = shares.filter((share) => share !== undefined && share > 1.005);
  if (impossible.length > 0)
    warnings.push(
      `${impossible.length} of ${shares.length} results exceed 100 % of a measured peak, which is impossible: ` +
        "this machine was busier whenever the peaks were measured. Run it again on an idle machine",
    );
  for (const [what, { best, lowest }] of [
    ["arithmetic", peaks.matrixGflops],
    ["read", peaks.readGBps],
  ] as const)
    if (lowest < 0.8 * best)
      warnings.push(
        `the ${what} peak fell to ${percent(lowest / best)} of its best meanwhile: other work ran on this machine, and ` +
          "times are longer than on an idle one",
      );
  return warnings;
}
