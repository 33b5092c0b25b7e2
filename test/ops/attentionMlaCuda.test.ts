// Tests of latent attention that only the CUDA backend needs: tiles, splits, chunks and their edges, with the model's
// heads and latents. The CPU backend provides the expected values.
import { describe, expect, test, vi } from "vitest";
import { mlaDecode, mlaPrefill } from "../../lib/ops/attention.js";
import { packWeight } from "../../lib/ops/linear.js";
import type { Device } from "../../lib/tensor/tensor.js";
import { cuda, devices } from "../support/devices.js";
import { randomArray, relativeError } from "../support/numbers.js";

// Little memory, so that keys are expanded in several chunks, and few multiprocessors, so that blocks take many heads.
vi.hoisted(() => {
  process.env.CARACAL_VGPU_MEMORY = "64M";
  process.env.CARACAL_VGPU_SM_COUNT = "3";
});

interface Sizes {
  readonly heads: number;
  readonly nope: number;
  readonly rope: number;
  readonly value: number;
  readonly latent: number;
}
const model = (heads: number): Sizes => ({ heads, nope: 128, rope: 64, value: 128, latent: 512 });

interface Sequence {
  readonly queries: number;
  readonly keys: number;
  readonly seed: number;
}
type Stored = "f32" | "bf16" | "f8e4m3";

const blockSize = 16;

/** Operands with separate cache blocks for each sequence, in descending order, and NaN in unused rows. */
function make(on: Device, sizes: Sizes, sequences: readonly Sequence[], dtype: "f32" | "bf16", stored: Stored) {
  const { heads, nope, rope, value, latent } = sizes;
  const width = latent + rope;
  const blocks = sequences.map(({ keys }) => Math.ceil(keys / blockSize));
  const total = blocks.reduce((a, b) => a + b, 1);
  const tableWidth = Math.max(1, ...blocks) + 1;
  const table = new Int32Array(sequences.length * tableWidth).fill(2147480000);
  const cache = new Float32Array(total * blockSize * width).fill(Number.NaN);
  let free = total;
  sequences.forEach(({ keys, seed }, s) => {
    const rows = randomArray(keys * width, seed);
    for (let b = 0; b < blocks[s]!; b++) {
      table[s * tableWidth + b] = --free;
      const part = rows.subarray(b * blockSize * width, Math.min(keys, (b + 1) * blockSize) * width);
      cache.set(part, free * blockSize * width);
    }
  });
  const depth = heads * (nope + rope);
  const q = Float32Array.from(sequences.flatMap(({ queries, seed }) => [...randomArray(queries * depth, seed + 50)]));
  const starts = [0];
  for (const { queries } of sequences) starts.push(starts.at(-1)! + queries);
  const i32 = (values: readonly number[]) => on.tensor([...values], [values.length], "i32");
  const [n, k] = [heads * (nope + value), latent];
  const scale = on.tensor(
    randomArray(Math.ceil(n / 128) * Math.ceil(k / 128), 9).map((v) => (0.1 + Math.abs(v)) / 4000),
    [Math.ceil(n / 128), Math.ceil(k / 128)],
  );
  const plain = on.tensor(randomArray(n * k, 8, stored === "f8e4m3" ? 448 : 0.2), [n, k], stored);
  return {
    q: on.tensor(q, [starts.at(-1)!, heads, nope + rope], dtype),
    wKvB: stored === "f8e4m3" ? packWeight(plain, { scale }) : packWeight(plain),
    cache: on.tensor(cache, [total, blockSize, width], dtype),
    blockTable: on.tensor(table, [sequences.length, tableWidth], "i32"),
    seqLens: i32(sequences.map(({ keys }) => keys)),
    cuSeqlens: i32(starts),
    heads,
    nopeDim: nope,
    ropeDim: rope,
    vDim: value,
  };
}

describe.skipIf(!cuda)("latent attention on CUDA", () => {
  const device = cuda as Device;
  const cpu = devices[devices.length - 1] as Device;

  const prefill = async (
    on: Device,
    sizes: Sizes,
    sequences: readonly Sequence[],
    dtype: "f32" | "bf16",
    stored: Stored,
  ) => await mlaPrefill(make(on, sizes, sequences, dtype, stored)).toFloat32Array();
  const decode = async (
    on: Device,
    sizes: Sizes,
    keys: readonly number[],
    dtype: "f32" | "bf16",
    stored: Stored,
    seed = 1,
  ) => {
    const sequences = keys.map((n, i) => ({ queries: 1, keys: n, seed: seed + i }));
    const { cuSeqlens: _, ...options } = make(on, sizes, sequences, dtype, stored);
    const { o, lse } = mlaDecode(options);
    return [await o.toFloat32Array(), await lse.toFloat32Array()] as const;
  };

  const prompts: readonly Sequence[] = [
    { queries: 1, keys: 1, seed: 1 },
    { queries: 0, keys: 5, seed: 2 },
    { queries: 3, keys: 67, seed: 3 },
    { queries: 70, keys: 140, seed: 4 },
  ];
  test.each(["bf16", "f8e4m3"] as const)("prefill of bf16 in several chunks, %s weights", async (stored) => {
    const out = await prefill(device, model(2), prompts, "bf16", stored);
    expect(relativeError(out, await prefill(cpu, model(2), prompts, "bf16", stored))).toBeLessThan(1e-2);
    expect(await prefill(device, model(2), prompts, "bf16", stored)).toEqual(out);
    const alone = await prefill(device, model(2), prompts.slice(3), "bf16", stored);
    expect(alone).toEqual(out.subarray(4 * 256));
  });

  test("prefill of f32 in several chunks", async () => {
    const sizes = { heads: 40, nope: 8, rope: 4, value: 8, latent: 16 };
    const sequences = [
      { queries: 33, keys: 150, seed: 1 },
      { queries: 2, keys: 2, seed: 2 },
      { queries: 5, keys: 70, seed: 3 },
    ];
    const out = await prefill(device, sizes, sequences, "f32", "f32");
    expect(relativeError(out, await prefill(cpu, sizes, sequences, "f32", "f32"))).toBeLessThan(2e-6);
    const alone = await prefill(device, sizes, sequences.slice(0, 1), "f32", "f32");
    expect(alone).toEqual(out.subarray(0, 33 * 320));
  });

  test.each([
    ["f32", "bf16"],
    ["f32", "f8e4m3"],
    ["bf16", "f32"],
    ["bf16", "f8e4m3"],
  ] as const)("exact f32 of %s with %s weights, latents of several widths", async (dtype, stored) => {
    for (const latent of [24, 40, 72, 104]) {
      const sizes = { heads: 3, nope: 12, rope: 4, value: 20, latent }; // heads without an instance for tensor cores
      const out = await prefill(device, sizes, prompts.slice(0, 3), dtype, stored);
      const tolerance = dtype === "bf16" ? 1e-2 : 1e-5;
      expect(relativeError(out, await prefill(cpu, sizes, prompts.slice(0, 3), dtype, stored))).toBeLessThan(tolerance);
      const [o] = await decode(device, sizes, [1, 33], dtype, stored);
      const [expected] = await decode(cpu, sizes, [1, 33], dtype, stored);
      expect(relativeError(o, expected)).toBeLessThan(tolerance);
    }
  });

  test.each([
    [2, "bf16"],
    [20, "bf16"],
    [2, "f8e4m3"],
    [3, "f32"],
  ] as const)("decode of bf16, %i heads, %s weights", async (heads, stored) => {
    const keys = heads === 20 ? [40, 0, 530] : [1, 33, 0, 600];
    const [o, lse] = await decode(device, model(heads), keys, "bf16", stored);
    const [expected, expectedLse] = await decode(cpu, model(heads), keys, "bf16", stored);
    expect(relativeError(o, expected)).toBeLessThan(1e-2);
    const finite = (x: Float32Array) => x.filter(Number.isFinite);
    expect(finite(lse)).toHaveLength(finite(expectedLse).length);
    expect(relativeError(finite(lse), finite(expectedLse))).toBeLessThan(1e-3);
    expect(await decode(device, model(heads), keys, "bf16", stored)).toEqual([o, lse]);
    // The last sequence alone, which changes the number of blocks and of heads per block.
    const last = keys.length - 1;
    const [one, oneLse] = await decode(device, model(heads), keys.slice(last), "bf16", stored, 1 + last);
    expect(one).toEqual(o.subarray(last * heads * 128));
    expect(oneLse).toEqual(lse.subarray(last * heads));
  });

  test.each(["bf16", "f8e4m3"] as const)("decode of more sequences than one tile, %s weights", async (stored) => {
    const keys = Array.from({ length: 18 }, (_, i) => i + 1);
    const [o] = await decode(device, model(1), keys, "bf16", stored);
    const [expected] = await decode(cpu, model(1), keys, "bf16", stored);
    expect(relativeError(o, expected)).toBeLessThan(1e-2);
    const [one] = await decode(device, model(1), keys.slice(16), "bf16", stored, 17);
    expect(one).toEqual(o.subarray(16 * 128));
  });
});
