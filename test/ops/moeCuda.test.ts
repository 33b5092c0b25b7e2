// The mixture of experts on the CUDA backend: chunks, blocks and their edges, unaligned rows, the choice among kernels;
// results are compared with the CPU's.
import { describe, expect, test, vi } from "vitest";
import { combine, permutation, type RouterOptions, router } from "../../lib/ops/moe.js";
import type { Device, Tensor } from "../../lib/tensor/tensor.js";
import { cuda, devices } from "../support/devices.js";
import { randomArray, relativeError, uniform } from "../support/numbers.js";

// With so few multiprocessors, the largest tiles are chosen even for small products. A block of compute capability 8.6
// has little shared memory.
vi.hoisted(() => {
  process.env.CARACAL_VGPU_SM_COUNT = "4";
  process.env.CARACAL_VGPU_COMPUTE = "8.6";
});

type Rows = "f32" | "bf16";

const kinds = ["random", "skewed", "zero experts only", "no picks"] as const;

/** The ids of `tokens` tokens with `k` picks each, which may be equal. */
function picks(kind: (typeof kinds)[number], tokens: number, k: number, experts: number, zeroExperts: number) {
  const next = uniform(tokens + k);
  const below = (n: number) => Math.floor(((next() + 1) / 2) * n);
  return Array.from({ length: tokens * k }, () => {
    if (kind === "no picks") return -1;
    if (kind === "zero experts only") return experts + below(zeroExperts);
    return kind === "skewed" && below(8) > 0 ? 2 : below(experts + zeroExperts + 1) - 1;
  });
}

describe.skipIf(!cuda)("moe on CUDA", () => {
  const device = cuda as Device;
  const cpu = devices[devices.length - 1] as Device;

  interface Routed {
    x: Rows;
    w: Rows;
    tokens: number;
    d: number;
    options: RouterOptions;
  }
  /** The routing of tokens [first, last). */
  async function routed(device: Device, { x, w, tokens, d, options }: Routed, first = 0, last = tokens) {
    const all = options.experts + options.zeroExperts;
    const rows = device.tensor(randomArray(tokens * d, 1), [tokens, d], x).slice(first, last);
    const bias = device.tensor(randomArray(all + 1, 3, 0.01), [all + 1]).slice(1);
    const r = router(rows, device.tensor(randomArray(all * d, 2, 0.3), [all, d], w), bias, options);
    return [await r.ids.read(), await r.weights.toFloat32Array(), await r.zeroWeight.toFloat32Array()] as const;
  }
  const options = { topK: 6, experts: 40, zeroExperts: 20, scale: 2.5 };

  // Covers the tiles for many, some, few and one token, and depths of several stages and of less than one.
  test.each([
    ["f32", "f32", 72],
    ["bf16", "f32", 520],
    ["f32", "bf16", 139],
    ["bf16", "bf16", 96],
  ] as const)("all tiles of the router give the same bits, close to the CPU's (%s by %s, D=%i)", async (x, w, d) => {
    const tokens = 70;
    const sizes = { x, w, tokens, d, options };
    const [ids, weights, zero] = await routed(device, sizes);
    const expected = await routed(cpu, sizes);
    expect(ids).toEqual(expected[0]);
    expect(relativeError(weights, expected[1])).toBeLessThan(1e-5);
    expect(relativeError(zero, expected[2])).toBeLessThan(1e-5);
    for (const [first, last] of [
      [0, 64],
      [9, 29],
      [69, 70],
    ] as const) {
      const part = await routed(device, sizes, first, last);
      const picks = [first * options.topK, last * options.topK] as const;
      expect(part).toEqual([ids.subarray(...picks), weights.subarray(...picks), zero.subarray(first, last)]);
    }
  });

  test.each([
    { topK: 12, experts: 512, zeroExperts: 256, scale: 6 },
    { topK: 3, experts: 500, zeroExperts: 1, scale: 6, renormalize: true },
    { topK: 40, experts: 60, zeroExperts: 6, scale: 2, renormalize: true, scaleZeroExperts: false },
    { topK: 35, experts: 700, zeroExperts: 300, scale: 1, renormalize: true },
    { topK: 7, experts: 5, zeroExperts: 2, scale: 1 },
  ])("$topK picks among $experts + $zeroExperts experts match the CPU's", async (options) => {
    const sizes: Routed = { x: "f32", w: "f32", tokens: 5, d: 24, options };
    const [ids, weights, zero] = await routed(device, sizes);
    const expected = await routed(cpu, sizes);
    expect(ids).toEqual(expected[0]);
    expect(relativeError(weights, expected[1])).toBeLessThan(1e-5);
    expect(relativeError(zero, expected[2])).toBeLessThan(1e-5);
    expect(await routed(device, sizes)).toEqual([ids, weights, zero]);
  });

  test("the router accepts unaligned rows, and the lowest id wins a tie", async () => {
    const d = 64;
    const values = randomArray(3 * d + 1, 4);
    const w = device.tensor(randomArray(800 * d, 5), [800, d]);
    const run = (x: Tensor<Rows>) => router(x, w, undefined, { ...options, experts: 800, zeroExperts: 0 }).ids.read();
    const shifted = device.tensor(values, [3 * d + 1], "bf16").slice(1);
    const aligned = device.tensor(values.subarray(1), [3, d], "bf16");
    expect(await run(shifted.reshape([3, d]))).toEqual(await run(aligned));
    for (const experts of [40, 700, 800]) {
      const r = router(device.zeros([1, d]), device.zeros([experts, d]), undefined, {
        ...options,
        experts,
        zeroExperts: 0,
      });
      expect([...(await r.ids.read())]).toEqual([0, 1, 2, 3, 4, 5]);
    }
  });

  // Covers one block with one warp and with several, the last of them partly filled; several blocks, the last partly filled;
  // counters in global memory.
  test.each([
    [1, 12, 16],
    [63, 5, 16],
    [2100, 4, 7],
    [5000, 4, 7],
    [710, 12, 1500],
    [130, 12, 13_000],
  ])("the permutation of %i tokens with %i picks among %i experts matches the CPU's", async (tokens, k, experts) => {
    for (const kind of kinds) {
      const ids = picks(kind, tokens, k, experts, 5);
      const run = async (device: Device) => {
        const p = permutation({ ids: device.tensor(ids, [tokens, k], "i32"), experts, zeroExperts: 5 });
        return [await p.offsets.read(), await p.tokenOf.read(), await p.slotOf.read()];
      };
      expect(await run(device)).toEqual(await run(cpu));
    }
  });

  test("without picks, no expert has rows", async () => {
    const p = permutation({ ids: device.zeros([0, 3], "i32"), experts: 40, zeroExperts: 0 });
    expect([...(await p.offsets.read())]).toEqual(Array(41).fill(0));
    expect(await p.slotOf.read()).toHaveLength(0);
  });

  test("the error for an invalid id names it", async () => {
    const ids: number[] = Array(16 * 1100).fill(1);
    for (const invalid of [7, -2]) {
      ids[16 * 1050 + 3] = invalid;
      const run = async (device: Device) =>
        await permutation({ ids: device.tensor(ids, [1100, 16], "i32"), experts: 4, zeroExperts: 3 }).tokenOf.read();
      await expect(run(device)).rejects.toThrowError(`permutation: ids[1050][3] is ${invalid}, outside [-1, 7)`);
      await expect(run(cpu)).rejects.toThrowError(`permutation: ids[1050][3] is ${invalid}, outside [-1, 7)`);
    }
  });

  const [tokens, k] = [9, 5];
  const routing = (device: Device) => ({
    weights: device.tensor(randomArray(tokens * k, 3), [tokens, k]),
    zeroWeight: device.tensor(
      randomArray(tokens, 4).map((v, i) => (i % 3 ? v : 0)),
      [tokens],
    ),
  });

  test.each([
    ["f32", 8],
    ["bf16", 8],
    ["f32", 1100],
    ["bf16", 1100],
    ["bf16", 2056],
    ["bf16", 13],
  ] as const)("combine gives the CPU's bits (%s, %i columns)", async (dtype, d) => {
    const slots = picks("random", tokens, k, 12, 0);
    const run = async (device: Device, residual: boolean) => {
      const rows = (n: number, seed: number) => device.tensor(randomArray(n * d, seed), [n, d], dtype as Rows);
      const slotOf = device.tensor(slots, [tokens, k], "i32");
      const options = residual ? { residual: rows(tokens, 2) } : {};
      return await combine(rows(12, 0), rows(tokens, 1), routing(device), { slotOf }, options).toFloat32Array();
    };
    for (const residual of [false, true]) expect(await run(device, residual)).toEqual(await run(cpu, residual));
  });

  test("combine accepts more picks than a warp has lanes, and unaligned rows", async () => {
    const [d, many] = [24, 70];
    const run = async (device: Device) => {
      const weights = device.tensor(randomArray(2 * many, 5), [2, many]);
      const slotOf = device.tensor(picks("random", 2, many, 9, 0), [2, many], "i32");
      const y = device
        .tensor(randomArray(9 * d + 1, 6), [9 * d + 1], "bf16")
        .slice(1)
        .reshape([9, d]);
      const x = device.tensor(randomArray(2 * d, 7), [2, d], "bf16");
      return await combine(y, x, { weights, zeroWeight: device.zeros([2]) }, { slotOf }).toFloat32Array();
    };
    expect(await run(device)).toEqual(await run(cpu));
  });

  test("combine reads neither x without a zero expert nor rows that are not picked", async () => {
    const bad = device.tensor([Number.POSITIVE_INFINITY, Number.NaN, 1, 2], [2, 2]);
    const slotOf = device.tensor([-1, 1], [2, 1], "i32");
    const weights = device.tensor([Number.NaN, 2], [2, 1]);
    const y = combine(bad, bad, { weights, zeroWeight: device.zeros([2]) }, { slotOf });
    expect([...(await y.toFloat32Array())]).toEqual([0, 0, 2, 4]);
  });

  test("the error for an invalid slot names it", async () => {
    const slotOf = device.tensor([0, -1, 1, 3], [2, 2], "i32");
    const weights = { weights: device.zeros([2, 2]), zeroWeight: device.zeros([2]) };
    const y = combine(device.zeros([3, 300]), device.zeros([2, 300]), weights, { slotOf });
    await expect(y.read()).rejects.toThrowError("combine: slotOf[1][1] is 3, outside [-1, 3)");
  });
});
