import { describe, expect, test } from "vitest";
import { bound, gpus, occupancy } from "../../bench/counters/gpus.js";

describe("occupancy on sm_80", () => {
  test.each([
    { registers: 32, threads: 256, shared: 0, warps: 64 },
    { registers: 33, threads: 256, shared: 0, warps: 48 }, // 1280 registers per warp: 51 warps, 6 blocks of 8
    { registers: 255, threads: 128, shared: 0, warps: 8 },
    { registers: 32, threads: 32, shared: 0, warps: 32 }, // 32 blocks
    { registers: 32, threads: 1024, shared: 0, warps: 64 },
    { registers: 128, threads: 128, shared: 65536, warps: 8 }, // two blocks, with the system's 1 KiB each
    { registers: 32, threads: 128, shared: 163 * 1024, warps: 4 },
  ])("$registers registers, $threads threads, $shared bytes", ({ registers, threads, shared, warps }) => {
    expect(occupancy(registers, threads, shared)).toBe(warps / 64);
  });
});

test("a bound is the larger of memory and the arithmetic of products", () => {
  const [a100, h100] = gpus;
  expect(bound({ unit: "matrix", work: { bytes: 2.039e12 } }, a100!)).toBeCloseTo(1e6);
  expect(bound({ unit: "matrix", work: { bytes: 1, flops: 989e12 } }, h100!)).toBeCloseTo(1e6);
  expect(bound({ unit: "fma", work: { bytes: 3.35e12, flops: 2 * 67e12 } }, h100!)).toBeCloseTo(2e6);
  expect(bound({ unit: "scalar", work: { bytes: 3.35e12, flops: 2 * 67e12 } }, h100!)).toBeCloseTo(1e6);
});
