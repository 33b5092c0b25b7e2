// Grouped products on the CUDA backend: the assignment of tiles to blocks, tiles and their edges, the choice among kernels
// by offsets that only the device knows.
import { describe, expect, test, vi } from "vitest";
import { linear, packWeight, packWeights, swiglu } from "../../lib/ops/linear.js";
import { groupedGemm, groupedSwiglu } from "../../lib/ops/moe.js";
import type { Device, Tensor } from "../../lib/tensor/tensor.js";
import { codeExperts, codeForms, codeWeight } from "../support/codes.js";
import { cuda, devices } from "../support/devices.js";
import { randomArray, relativeError } from "../support/numbers.js";

// With so few multiprocessors, every block computes several tiles. A block of compute capability 8.6 has little shared
// memory.
vi.hoisted(() => {
  process.env.CARACAL_VGPU_SM_COUNT = "4";
  process.env.CARACAL_VGPU_COMPUTE = "8.6";
});

type Rows = "f32" | "bf16";
type Stored = Rows | "f8e4m3" | "q4" | "q8";

/** The matrices `[E, N, K]`, packed together and one by one. */
function experts(device: Device, dtype: Stored, count: number, n: number, k: number, seed: number) {
  if (dtype === "q4" || dtype === "q8") {
    const [form, seeds] = [codeForms[dtype], Array.from({ length: count }, (_, e) => seed + e)];
    return {
      all: codeExperts(device, form, n, k, seeds) as never,
      one: (e: number) => codeWeight(device, form, n, k, seed + e) as never,
    };
  }
  const scales = [Math.ceil(n / 128), Math.ceil(k / 128)] as const;
  const matrix = (e: number) =>
    device.tensor(randomArray(n * k, seed + e, dtype === "f8e4m3" ? 448 : 1), [n, k], dtype) as Tensor<"bf16">;
  const scale = (e: number) =>
    device.tensor(
      randomArray(scales[0] * scales[1], seed + 99 + e).map((v) => 0.01 + Math.abs(v)),
      scales,
    );
  const scaled = dtype === "f8e4m3";
  const ids = Array.from({ length: count }, (_, e) => e);
  return {
    all: packWeights(ids.map(matrix), scaled ? { scales: ids.map(scale) } : {}) as never,
    one: (e: number) => packWeight(matrix(e) as never, { scale: scaled ? scale(e) : undefined }) as never,
  };
}

function offsetsOf(rows: readonly number[]): number[] {
  const offsets = [0];
  for (const r of rows) offsets.push(offsets.at(-1)! + r);
  return offsets;
}

// Rows per expert: values within and at the bounds of every class, and so many in total that the largest tiles are used.
const ragged = [0, 3, 140, 17, 64, 290, 0, 1, 16];

describe.skipIf(!cuda)("grouped products on CUDA", () => {
  const device = cuda as Device;
  const cpu = devices[devices.length - 1] as Device;

  test.each([
    ["bf16", "bf16", 72, 136],
    ["bf16", "f8e4m3", 136, 144],
    ["bf16", "f8e4m3", 33, 139],
    ["bf16", "q4", 72, 160],
    ["bf16", "q8", 33, 192],
    ["bf16", "f32", 40, 40],
    ["f32", "bf16", 37, 37],
    ["f32", "f8e4m3", 33, 140],
    ["f32", "q4", 40, 96],
    ["f32", "q8", 33, 64],
  ] as const)("%s by %s, N=%i K=%i: the bits of each expert alone, close to the CPU's", async (xs, ws, n, k) => {
    const offsets = offsetsOf(ragged);
    const [used, rows] = [offsets.at(-1)!, offsets.at(-1)! + 21];
    const run = (device: Device) => {
      const x = device.tensor(randomArray(90 * k, 1), [90, k], xs as Rows);
      const gather = Array.from({ length: rows }, (_, i) => (i < used ? (i * 7) % 90 : -1));
      const gathered = { gather: device.tensor(gather, [rows], "i32") };
      const [gate, up] = [5, 300].map((seed) => experts(device, ws, ragged.length, n, k, seed));
      const o = device.tensor(offsets, [offsets.length], "i32");
      const plain = () => groupedGemm(x, gate!.all, o, gathered).toFloat32Array();
      const gated = () => groupedSwiglu(x, gate!.all, up!.all, o, gathered).toFloat32Array();
      return { x, gate: gate!, up: up!, gather, plain, gated };
    };
    const { x, gate, up, gather, plain, gated } = run(device);
    const [y, h] = [await plain(), await gated()];
    const expected = run(cpu);
    const tolerance = xs === "f32" ? 1e-5 : 4e-3;
    expect(relativeError(y, await expected.plain())).toBeLessThan(tolerance);
    expect(relativeError(h, await expected.gated())).toBeLessThan(tolerance);
    expect(await plain()).toEqual(y);
    expect(await gated()).toEqual(h);
    for (const e of [1, 3, 5]) {
      const row = offsets[e]! + 2;
      const alone = x.slice(gather[row]!, gather[row]! + 1) as Tensor<Rows>;
      const range = [row * n, (row + 1) * n] as const;
      expect(y.subarray(...range)).toEqual(await linear(alone, gate.one(e)).toFloat32Array());
      expect(h.subarray(...range)).toEqual(await swiglu(alone, gate.one(e), up.one(e)).toFloat32Array());
    }
    expect(y.subarray(used * n).every((v) => v === 0)).toBe(true);
    expect(h.subarray(used * n).every((v) => v === 0)).toBe(true);
  });

  test.each([
    ["one has", (e: number) => (e === 1090 ? 40 : 0)],
    ["none has", () => 0],
    ["two thirds have", (e: number) => (e % 3 ? 1 : 0)],
  ])("many experts of which %s rows", async (_, rowsOf) => {
    const [count, n, k] = [1100, 8, 16];
    const offsets = offsetsOf(Array.from({ length: count }, (_, e) => rowsOf(e)));
    const total = offsets.at(-1)! + 3;
    const run = async (device: Device) => {
      const w = experts(device, "bf16", count, n, k, 1).all;
      const x = device.tensor(randomArray(total * k, 2), [total, k], "bf16");
      return await groupedGemm(x, w, device.tensor(offsets, [count + 1], "i32")).toFloat32Array();
    };
    const y = await run(device);
    expect(relativeError(y, await run(cpu))).toBeLessThan(4e-3);
    expect(y.subarray(offsets.at(-1)! * n).every((v) => v === 0)).toBe(true);
  });

  test("zero rows are allowed", async () => {
    const w = experts(device, "bf16", 3, 8, 16, 1).all;
    const y = groupedGemm(device.zeros([0, 16], "bf16"), w, device.zeros([4], "i32"));
    expect(await y.toFloat32Array()).toHaveLength(0);
  });

  test.each([
    ["bf16", 160],
    ["f8e4m3", 160],
    ["q4", 160],
    ["q8", 192],
  ] as const)("%s: the bits do not depend on the alignment of the rows", async (dtype, k) => {
    const n = 24;
    const values = randomArray(5 * k + 1, 4);
    const w = experts(device, dtype, 2, n, k, 3).all;
    const offsets = device.tensor([0, 2, 5], [3], "i32");
    const shifted = device.tensor(values, [5 * k + 1], "bf16").slice(1);
    const aligned = device.tensor(values.subarray(1), [5, k], "bf16");
    expect(await groupedGemm(shifted.reshape([5, k]), w, offsets).toFloat32Array()).toEqual(
      await groupedGemm(aligned, w, offsets).toFloat32Array(),
    );
  });

  test("int8Rows changes no bit: rows are not rounded", async () => {
    const [n, k] = [24, 192];
    const offsets = device.tensor([0, 2, 40], [3], "i32");
    for (const [xs, ws] of [
      ["f32", "q4"],
      ["bf16", "q8"],
    ] as const) {
      const x = device.tensor(randomArray(40 * k, 4), [40, k], xs);
      const [gate, up] = [3, 9].map((seed) => experts(device, ws, 2, n, k, seed).all);
      const both = async (int8Rows: boolean) =>
        await Promise.all([
          groupedGemm(x, gate!, offsets, { int8Rows }).toFloat32Array(),
          groupedSwiglu(x, gate!, up!, offsets, { int8Rows }).toFloat32Array(),
        ]);
      expect(await both(true)).toEqual(await both(false));
    }
  });

  test.each([
    ["f32", "bf16"],
    ["bf16", "bf16"],
    ["f32", "q4"],
    ["bf16", "q8"],
  ] as const)("a NaN stays in its row (%s by %s)", async (dtype, ws) => {
    const [rows, n, k] = [40, 16, 64];
    const w = experts(device, ws, 2, n, k, 3).all;
    const values = randomArray(rows * k, 1);
    const run = async (x: Float32Array) =>
      await groupedGemm(
        device.tensor(x, [rows, k], dtype) as Tensor<Rows>,
        w,
        device.tensor([0, 3, rows], [3], "i32"),
      ).toFloat32Array();
    const expected = await run(values);
    const damaged = await run(values.map((v, i) => (Math.floor(i / k) === 1 ? Number.NaN : v)));
    expect(damaged.subarray(n, 2 * n).every(Number.isNaN)).toBe(true);
    expected.fill(Number.NaN, n, 2 * n);
    expect(damaged).toEqual(expected);
  });

  test("the errors for invalid offsets and gathered rows are those of the CPU", async () => {
    const message = async (device: Device, offsets: number[], gather?: number[]) => {
      const w = experts(device, "bf16", 3, 8, 16, 1).all;
      const x = device.zeros([6, 16], "bf16");
      const options = gather ? { gather: device.tensor(gather, [gather.length], "i32") } : {};
      const y = groupedGemm(x, w, device.tensor(offsets, [4], "i32"), options);
      return await y.read().then(String, (error: Error) => error.message);
    };
    for (const [offsets, gather] of [
      [[1, 2, 3, 4]],
      [[0, 2, 1, 4]],
      [[0, 2, 3, 7]],
      [[0, -1, 3, 4]],
      [[0, 0, 0, 8], []],
      [
        [0, 2, 3, 4],
        [0, 5, 1, 6],
      ],
      [
        [0, 1, 2, 3],
        [0, -1, 5, -7],
      ],
    ] as const) {
      const expected = await message(cpu, [...offsets], gather && [...gather]);
      expect(expected).toMatch(/offsets must rise|but x has 6 rows/);
      expect(await message(device, [...offsets], gather && [...gather])).toBe(expected);
    }
  });
});
