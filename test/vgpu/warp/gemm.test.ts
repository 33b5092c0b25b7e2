// A matrix product in the style of sm_80 kernels, and faulty variants of it, each of which must be detected.
import { expect, test } from "vitest";
import { deviceWith } from "../support/modes.js";
import { compile, hasNvcc } from "../support/nvcc.js";
import { numbers } from "../support/ptx.js";

type Device = Awaited<ReturnType<typeof deviceWith>>;

/** Multiples of 1/8 from -2 to 2, exact in bf16; all sums here are exact in single precision. */
function matrix(elements: number, seed: number) {
  const next = numbers(seed);
  const wide = Float32Array.from({ length: elements }, () => ((next() % 33) - 16) / 8);
  return { wide, bf16: Uint16Array.from(new Uint32Array(wide.buffer), (bits) => bits >>> 16) };
}

// with tiles of 128 x 128 x 32: ragged in every direction, and more steps than stages
const [m, n, k] = [200, 136, 200];
const a = matrix(m * k, 1);
const b = matrix(n * k, 2);
const expected = Float32Array.from({ length: m * n }, (_, at) => {
  const [i, j] = [Math.floor(at / n), at % n];
  let sum = 0;
  for (let x = 0; x < k; x++) sum += (a.wide[i * k + x] as number) * (b.wide[j * k + x] as number);
  return sum;
});

/** The number of wrong elements. */
function wrong(device: Device, ptx: string): number {
  const got = new Float32Array(m * n).fill(Number.NaN);
  const grid: [number, number, number] = [Math.ceil(n / 128), Math.ceil(m / 128), 1];
  new device.PtxModule(ptx).run("gemm", { grid, block: 256 }, a.bf16, b.bf16, got, { u32: m }, { u32: n }, { u32: k });
  return got.reduce((count, x, i) => count + Number(x !== expected[i]), 0);
}

const modes: Record<string, string>[] = [
  { CARACAL_VGPU_ASYNC: "late" },
  { CARACAL_VGPU_ASYNC: "early" },
  ...["1", "2", "3", "4"].map((seed) => ({ CARACAL_VGPU_ASYNC: "random", CARACAL_VGPU_SEED: seed })),
  { CARACAL_VGPU_CHECK: "initcheck,racecheck" },
  { CARACAL_VGPU_ACCUMULATION: "exact" },
  { CARACAL_VGPU_ACCUMULATION: "truncating" },
];

test.skipIf(!hasNvcc).each(modes)("gemm %o", async (mode) => {
  expect(wrong(await deviceWith(mode), compile("gemm"))).toBe(0);
});

test.skipIf(!hasNvcc)("a wait for one group too few", async () => {
  const ptx = compile("gemm", ["-DPENDING=2"]);
  expect(wrong(await deviceWith({ CARACAL_VGPU_ASYNC: "late" }), ptx)).toBeGreaterThan(0);
  // The fault has no effect if copies complete at once, which is why they complete late by default.
  expect(wrong(await deviceWith({ CARACAL_VGPU_ASYNC: "early" }), ptx)).toBe(0);
});

test.skipIf(!hasNvcc)("no __syncthreads", async () => {
  const ptx = compile("gemm", ["-DNO_BARRIER"]);
  expect(wrong(await deviceWith({ CARACAL_VGPU_ASYNC: "late" }), ptx)).toBeGreaterThan(0);
});

test.skipIf(!hasNvcc)("no __syncthreads, under racecheck", async () => {
  const device = await deviceWith({ CARACAL_VGPU_CHECK: "racecheck", CARACAL_VGPU_ASYNC: "early" });
  expect(() => wrong(device, compile("gemm", ["-DNO_BARRIER"]))).toThrow(/racecheck/);
});

test.skipIf(!hasNvcc)("the registers of B are swapped", async () => {
  expect(wrong(await deviceWith({}), compile("gemm", ["-DSWAPPED=1"]))).toBeGreaterThan(0);
});

test.skipIf(!hasNvcc)("no swizzle affects only performance, as test/vgpu/count shows", async () => {
  expect(wrong(await deviceWith({}), compile("gemm", ["-DNO_SWIZZLE"]))).toBe(0);
});

test.skipIf(!hasNvcc)("no bounds check of the rows", async () => {
  const device = await deviceWith({});
  expect(() => wrong(device, compile("gemm", ["-DNO_BOUND"]))).toThrow(
    /memcheck: global read of 16 bytes.*bytes past an allocation.*gemm\.cu:\d+/s,
  );
});

test.skipIf(!hasNvcc)("ldmatrix at a misaligned row", async () => {
  const device = await deviceWith({});
  expect(() => wrong(device, compile("gemm", ["-DMISALIGN=8"]))).toThrow(
    /memcheck: shared read of 16 bytes.*not a multiple of 16.*gemm\.cu:\d+/s,
  );
});
