// Matrix products on the CUDA backend: tiles and their edges, unaligned rows, the choice among kernels.
import { describe, expect, test, vi } from "vitest";
import { linear, packWeight, swiglu } from "../../lib/ops/linear.js";
import type { PackedWeight } from "../../lib/tensor/packedWeight.js";
import type { Device, Tensor } from "../../lib/tensor/tensor.js";
import { codeForms, codeWeight } from "../support/codes.js";
import { cuda, devices } from "../support/devices.js";
import { randomArray, relativeError } from "../support/numbers.js";

// With so few multiprocessors, the largest tiles are chosen even for small products.
vi.hoisted(() => {
  process.env.CARACAL_VGPU_SM_COUNT = "4";
});

type Rows = "f32" | "bf16";
type Stored = Rows | "f8e4m3" | "q4" | "q8";

function rows(device: Device, dtype: Rows, m: number, k: number, seed = 1) {
  return device.tensor(randomArray(m * k, seed), [m, k], dtype);
}

function weight(device: Device, dtype: Stored, n: number, k: number, seed = 2): PackedWeight {
  if (dtype === "q4" || dtype === "q8") return codeWeight(device, codeForms[dtype], n, k, seed);
  const plain = device.tensor(randomArray(n * k, seed, dtype === "f8e4m3" ? 448 : 1), [n, k], dtype);
  if (dtype !== "f8e4m3") return packWeight(plain);
  const shape = [Math.ceil(n / 128), Math.ceil(k / 128)] as const;
  const scale = randomArray(shape[0] * shape[1], seed + 1).map((v) => 0.01 + Math.abs(v));
  return packWeight(plain, { scale: device.tensor(scale, shape) });
}

// More than one of the largest tiles in each direction. N is a multiple of 8, since outputs are stored eight at a time, but
// not of any tile.
const [m, n] = [136, 264];
const cases: [Rows, Stored, number][] = [
  ["bf16", "bf16", 200],
  ["bf16", "bf16", 139],
  ["bf16", "f8e4m3", 272],
  ["bf16", "f8e4m3", 139],
  ["bf16", "q4", 160],
  ["bf16", "q8", 192],
  ["bf16", "f32", 40],
  ["f32", "bf16", 37],
  ["f32", "f8e4m3", 40],
  ["f32", "q4", 96],
  ["f32", "q8", 64],
  ["f32", "f32", 37],
];

describe.skipIf(!cuda)("linear on CUDA", () => {
  const device = cuda as Device;
  const cpu = devices[devices.length - 1] as Device;

  test.each(cases)("%s by %s, K=%i: all tiles give the same bits, close to the CPU's results", async (xs, ws, k) => {
    const x = rows(device, xs, m, k);
    const w = weight(device, ws, n, k) as PackedWeight<Stored, readonly [number, number]>;
    const whole = await linear(x, w as never, { outDtype: "f32" }).toFloat32Array();
    const expected = linear(rows(cpu, xs, m, k), weight(cpu, ws, n, k) as never, { outDtype: "f32" });
    expect(relativeError(whole, await expected.toFloat32Array())).toBeLessThan(1e-6);
    for (const [first, last] of [
      [0, m],
      [0, 1],
      [3, 19],
      [70, 121],
    ] as const) {
      const part = linear(x.slice(first, last) as never, w as never, { outDtype: "f32" });
      expect(await part.toFloat32Array()).toEqual(whole.subarray(first * n, last * n));
    }
  });

  test.each(["bf16", "f8e4m3", "q4", "q8"] as const)(
    "%s: the bits do not depend on the rows' alignment",
    async (dtype) => {
      const k = 192;
      const values = randomArray(k + 1, 4);
      const w = weight(device, dtype, 33, k);
      const shifted = device.tensor(values, [k + 1], "bf16").slice(1);
      const aligned = device.tensor(values.subarray(1), [k], "bf16");
      expect(await linear(shifted as never, w as never).toFloat32Array()).toEqual(
        await linear(aligned as never, w as never).toFloat32Array(),
      );
    },
  );

  test.each([
    [3, 40],
    [40, 72],
    [70, 35],
  ])("bf16 epilogue, M=%i N=%i", async (m, n) => {
    const k = 96;
    const run = async (device: Device) => {
      const vector = (seed: number, dtype: Rows) => device.tensor(randomArray(n, seed), [n], dtype);
      return await linear(rows(device, "bf16", m, k), weight(device, "bf16", n, k) as never, {
        bias: vector(5, "bf16"),
        layerScale: vector(6, "f32"),
        residual: device.tensor(randomArray(m * n, 7), [m, n], "bf16"),
        activation: "gelu",
      }).toFloat32Array();
    };
    expect(relativeError(await run(device), await run(cpu))).toBeLessThan(1e-3);
  });

  test.each([
    ["bf16", "bf16", 5, 40],
    ["bf16", "bf16", 40, 72],
    ["bf16", "bf16", 136, 200],
    ["bf16", "f8e4m3", 5, 40],
    ["bf16", "f8e4m3", 40, 200],
    ["bf16", "f8e4m3", 136, 200],
    ["bf16", "q4", 5, 40],
    ["bf16", "q4", 40, 200],
    ["bf16", "q4", 136, 200],
    ["bf16", "q8", 5, 33],
    ["bf16", "q8", 40, 200],
    ["bf16", "q8", 136, 200],
    ["bf16", "f32", 5, 40],
    ["bf16", "f32", 136, 200],
    ["f32", "f32", 136, 200],
    ["f32", "bf16", 5, 40],
    ["f32", "bf16", 136, 200],
    ["f32", "f8e4m3", 5, 40],
    ["f32", "f8e4m3", 136, 200],
    ["f32", "q4", 5, 40],
    ["f32", "q4", 136, 200],
    ["f32", "q8", 5, 33],
    ["f32", "q8", 136, 200],
  ] as const)("swiglu of %s by %s, M=%i N=%i", async (xs, dtype, m, n) => {
    const k = dtype === "q4" || dtype === "q8" ? 192 : 144;
    const run = async (device: Device) =>
      await swiglu(
        rows(device, xs, m, k),
        weight(device, dtype, n, k, 3) as never,
        weight(device, dtype, n, k, 8) as never,
        { upBias: device.tensor(randomArray(n, 9), [n]) },
      ).toFloat32Array();
    const first = await run(device);
    expect(relativeError(first, await run(cpu))).toBeLessThan(1e-3);
    expect(await run(device)).toEqual(first);
  });

  test.each([
    ["bf16", 20, 72],
    ["bf16", 3, 72],
    ["q4", 20, 96],
    ["q4", 3, 96],
    ["q8", 20, 128],
  ] as const)("%s: a NaN among %i rows stays in its row", async (dtype, m, k) => {
    const n = 24;
    const values = randomArray(m * k, 1);
    const w = weight(device, dtype, n, k);
    const run = async (x: Float32Array) =>
      await linear(device.tensor(x, [m, k], "bf16") as Tensor<Rows>, w as never).toFloat32Array();
    const expected = await run(values);
    const damaged = await run(values.map((v, i) => (Math.floor(i / k) === 1 ? Number.NaN : v)));
    expect(damaged.subarray(n, 2 * n).every(Number.isNaN)).toBe(true);
    expected.fill(Number.NaN, n, 2 * n);
    expect(damaged).toEqual(expected);
  });

  test.each(["f32", "bf16"] as const)("int8Rows changes no bit of %s rows: they are not rounded", async (xs) => {
    const k = 192;
    for (const dtype of ["q4", "q8", "f8e4m3"] as const)
      for (const m of [1, 40]) {
        const x = rows(device, xs, m, k);
        const [w, up] = [3, 8].map((seed) => weight(device, dtype, 40, k, seed) as never);
        const both = async (int8Rows: boolean) =>
          await Promise.all([
            linear(x, w!, { int8Rows }).toFloat32Array(),
            swiglu(x, w!, up!, { int8Rows }).toFloat32Array(),
          ]);
        expect(await both(true)).toEqual(await both(false));
      }
  });

  // Groups of 32 end within a stage of 64 elements of k, and groups of 128 in every other.
  test.each([2, 3, 4, 5, 6, 8] as const)(
    "codes of %i bits in every group, with scales of every dtype",
    async (bits) => {
      for (const [group, k] of [
        [32, 32],
        [32, 96],
        [64, 192],
        [128, 384],
      ] as const)
        for (const scales of ["f32", "bf16", "f16"] as const)
          for (const [xs, m] of [
            ["f32", 3],
            ["bf16", 3],
            ["bf16", 20],
          ] as const) {
            const run = async (device: Device) => {
              const w = codeWeight(device, { bits, group, scales, biases: m !== 20 }, 35, k, bits);
              return await linear(rows(device, xs, m, k), w as never, { outDtype: "f32" }).toFloat32Array();
            };
            expect(relativeError(await run(device), await run(cpu)), `${[group, k, scales, xs, m]}`).toBeLessThan(1e-6);
          }
    },
  );

  test.each([
    ["bf16", 4],
    ["bf16", 8],
    ["f32", 4],
    ["f32", 8],
  ] as const)("%s rows that pick a column show each weight of %i bits", async (xs, bits) => {
    const [n, k, group] = [16, 160, 32];
    const stored = Uint8Array.from({ length: (n * k * bits) / 8 }, (_, i) => i * 7 + (i >> 8));
    const scale = Float32Array.from({ length: (n * k) / group }, (_, i) => (1 + (i % 5)) / 4);
    const w = packWeight(device.tensor(stored, [n, (k * bits) / 8], "u8") as Tensor<"u8", readonly [number, number]>, {
      bits,
      scale: device.tensor(scale, [n, k / group]),
      bias: device.tensor(
        scale.map((s) => 2 * s - 3),
        [n, k / group],
      ),
    });
    const x = Float32Array.from({ length: k * k }, (_, i) => (i % (k + 1) === 0 ? 1 : 0));
    const y = await linear(device.tensor(x, [k, k], xs), w as never, { outDtype: "f32" }).toFloat32Array();
    const code = (row: number, i: number) =>
      bits === 8 ? stored[row * k + i]! : (stored[(row * k + i) >> 1]! >> ((i & 1) * 4)) & 15;
    const weight = (row: number, i: number) => {
      const s = scale[Math.floor((row * k + i) / group)]!;
      return s * code(row, i) + 2 * s - 3;
    };
    expect([...y]).toEqual(Array.from({ length: k * n }, (_, i) => weight(i % n, Math.floor(i / n))));
  });
});
