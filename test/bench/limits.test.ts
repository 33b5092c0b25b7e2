import { describe, expect, test } from "vitest";
import { limitOf, peakWarnings } from "../../bench/limits.js";
import { describePeaks, type MachinePeaks, PeakMeter } from "../../bench/peaks.js";
import { Device } from "../../lib/tensor/tensor.js";

test("peaks are the best of all measurements, and the spread is known", async () => {
  await using device = await Device.open({ backend: "cpu" });
  const meter = new PeakMeter(device);
  await meter.measure();
  const first = meter.peaks;
  expect(first.readGBps.best).toBe(first.readGBps.lowest);
  await meter.measure();
  const { peaks } = meter;
  expect(peaks.measurements).toBe(2);
  for (const key of ["fmaGflops", "matrixGflops", "readGBps"] as const) {
    expect(peaks[key].best).toBeGreaterThanOrEqual(first[key].best);
    expect(peaks[key].lowest).toBeLessThanOrEqual(first[key].best);
  }
});

const peak = (best: number, lowest = best) => ({ best, lowest });
/** A machine that does 1 MFLOP in f32, 2 MFLOP in matrices, and reads 1 MB, each in 1 ms. */
const peaks: MachinePeaks = { measurements: 3, fmaGflops: peak(1), matrixGflops: peak(2), readGBps: peak(1) };

describe("the limit of an operation", () => {
  test.each([
    ["is reading, if its cold operands take longer than the arithmetic", "fma", 4e6, 1e6, 3e6, "read", 3],
    ["is arithmetic, if that takes longer", "fma", 4e6, 5e6, 3e6, "FMA", 5],
    ["is arithmetic, if only operands in a cache would take longer", "fma", 9e6, 5e6, 3e6, "FMA", 5],
    ["is arithmetic on matrix units, at their peak", "matrix", 1e6, 6e6, 0, "matrix", 3],
    ["is none that was measured, if all operands are in a cache", "fma", 4e6, 1e6, 0, "cache", undefined],
    ["is never the arithmetic of a formula", "scalar", 4e6, 9e6, 1e6, "read", 1],
    ["is none for a formula on operands in a cache", "scalar", 4e6, 9e6, 0, "cache", undefined],
    ["is reading all of what no cache holds", "fma", 400e6, 1e6, 0, "read", 400],
  ] as const)("%s", (_, unit, bytes, flops, coldBytes, limit, milliseconds) => {
    const result = limitOf({ unit, work: { bytes, flops }, coldBytes }, peaks);
    expect(result.limit).toBe(limit);
    if (milliseconds === undefined) expect(result).not.toHaveProperty("milliseconds");
    else expect(result.milliseconds).toBeCloseTo(milliseconds);
  });
});

describe("warnings", () => {
  test("say nothing about possible shares and steady peaks", () => {
    expect(peakWarnings(peaks, [0.9, undefined, 1])).toEqual([]);
  });

  test("say so when shares exceed 100 %, and how to do better", () => {
    expect(peakWarnings(peaks, [0.9, 1.94, undefined, 1.02])).toEqual([
      expect.stringMatching(/^2 of 4 results exceed 100 % .* impossible.* idle machine$/),
    ]);
  });

  test("say so when a peak varied", () => {
    const varied = { ...peaks, readGBps: peak(40, 24) };
    expect(peakWarnings(varied, [])).toEqual([expect.stringMatching(/^the read peak fell to 60 % of its best/)]);
  });
});

test("the peaks in words name matrix units only where there are some", () => {
  expect(describePeaks(peaks)).toContain("matrix units by mma.sync 2.00 GFLOP/s");
  expect(describePeaks({ ...peaks, matrixGflops: peaks.fmaGflops, readGBps: peak(35.12, 24) })).toBe(
    "peaks, best of 3 measurements: FMA 1.00 GFLOP/s (lowest 1.00), reading 35.1 GB/s (lowest 24.0)",
  );
});
