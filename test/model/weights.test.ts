import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { EntryDType, TensorEntry } from "../../lib/checkpoint/entry.js";
import type { LoadProgress } from "../../lib/model/weightSource.js";
import { Weights } from "../../lib/model/weights.js";
import { foldWeightNorm, linear } from "../../lib/ops/index.js";
import { devices } from "../support/devices.js";
import { readGolden } from "../support/golden.js";
import { randomArray, relativeError } from "../support/numbers.js";
import { goldenWeights } from "./goldenWeights.js";

const device = devices.at(-1)!;
const directory = mkdtempSync(join(tmpdir(), "caracal-weights-"));
afterAll(() => rmSync(directory, { recursive: true }));

/** Writes a file of raw tensors and returns the entries that describe it. */
function write(name: string, tensors: Record<string, { dtype: EntryDType; shape: number[]; bytes: Uint8Array }>) {
  const file = join(directory, name);
  const entries: TensorEntry[] = [];
  const chunks: Uint8Array[] = [];
  let offset = 0;
  for (const [key, { dtype, shape, bytes }] of Object.entries(tensors)) {
    entries.push({ name: key, dtype, shape, file, offset, byteLength: bytes.length });
    chunks.push(bytes);
    offset += bytes.length;
  }
  writeFileSync(file, Buffer.concat(chunks));
  return entries;
}

const f32 = (shape: number[], seed: number) => {
  const size = shape.reduce((n, d) => n * d, 1);
  return { dtype: "f32" as const, shape, bytes: new Uint8Array(randomArray(size, seed).buffer) };
};

describe("Weights", () => {
  it("refuses stacks of no number of matrices, or of endlessly many empty ones", () => {
    using weights = Weights.of(device, { m: write("empty", { weight: f32([0, 4], 1) }) });
    for (const count of [-1, 2 ** 17, 2 ** 40]) {
      const refused = `shapes[0] must be a number from 0 to 65536, got ${count}`;
      expect(() => weights.matrices("m.weight", [count, 0, 4])).toThrow(refused);
    }
  });

  it("maps vectors, packs matrices, and names parts", async () => {
    const a = write("a", { "m.weight": f32([3, 4], 1), "m.bias": f32([3], 2) });
    const b = write("b", { "m.weight": f32([5, 4], 3) });
    using weights = Weights.of(device, { one: a, two: b });
    expect(weights.part("one").shape("m.weight")).toEqual([3, 4]);
    const [one, two] = [weights.part("one").linear("m"), weights.part("two").linear("m")];
    expect([one.weight.shape, two.weight.shape, two.bias]).toEqual([[3, 4], [5, 4], undefined]);
    expect(await one.bias!.toFloat32Array()).toEqual(randomArray(3, 2));
    using x = device.tensor([1, 0, 0, 0], [1, 4] as number[]);
    using y = linear(x, one.weight, { bias: one.bias });
    const w = randomArray(12, 1);
    const bias = randomArray(3, 2);
    expect(
      relativeError(
        await y.toFloat32Array(),
        [0, 1, 2].map((n) => w[4 * n]! + bias[n]!),
      ),
    ).toBeLessThan(1e-6);
  });

  it("names a tensor that is missing, misshapen or of an unusable dtype", () => {
    const entries = write("c", {
      steps: { dtype: "i64", shape: [1], bytes: new Uint8Array(8) },
      v: f32([4], 1),
    });
    using weights = Weights.of(device, { part: entries }).part("part");
    expect(() => weights.plain("w")).toThrow(expect.objectContaining({ code: "CHECKPOINT_INVALID" }));
    expect(() => weights.plain("w")).toThrow(/no tensor part\.w/);
    expect(() => weights.plain("v", [5])).toThrow(/part\.v is \[4\], expected \[5\]/);
    expect(() => weights.plain("steps")).toThrow(/part\.steps is i64/);
  });

  it("reports progress in bytes, and stops on an abort", async () => {
    const entries = write("d", { a: f32([8, 8], 1), b: f32([8, 8], 2) });
    const seen: LoadProgress[] = [];
    const controller = new AbortController();
    const options = { signal: controller.signal, onProgress: (progress: LoadProgress) => seen.push(progress) };
    using weights = Weights.of(device, { "": entries }, options);
    weights.packed("a");
    weights.packed("a");
    await weights.settle();
    weights.packed("b");
    await weights.settle();
    expect(seen).toEqual([
      { name: "a", loaded: 256, total: 512 },
      { name: "b", loaded: 512, total: 512 },
    ]);
    expect(() => Weights.of(device, { "": entries }, { onprogress: () => {} } as never)).toThrow(/mean "onProgress"/);
    controller.abort();
    await expect(weights.settle()).rejects.toThrow(expect.objectContaining({ code: "ABORTED" }));
  });

  it("frees everything when a part is disposed", async () => {
    const entries = write("e", { a: f32([64, 64], 1) });
    const weights = Weights.of(device, { "": entries });
    const before = device.memory.inUse;
    const packed = weights.packed("a");
    await device.synchronize();
    expect(device.memory.inUse).toBeGreaterThan(before);
    weights.dispose();
    expect(packed.disposed).toBe(true);
    await device.synchronize();
    expect(device.memory.inUse).toBe(before);
  });
});

describe.each(devices)("foldWeightNorm on $isa", (device) => {
  it("gives every row the norm g and the direction of v", async () => {
    const [rows, columns] = [5, 3 * 7];
    const v = randomArray(rows * columns, 1);
    const g = randomArray(rows, 2);
    using folded = foldWeightNorm(device.tensor(v, [rows, 3, 7]), device.tensor(g, [rows, 1, 1]));
    expect(folded.shape).toEqual([rows, 3, 7]);
    const expected = Array.from(v, (value, i) => {
      const row = v.subarray(Math.floor(i / columns) * columns, (Math.floor(i / columns) + 1) * columns);
      return (g[Math.floor(i / columns)]! * value) / Math.hypot(...row);
    });
    expect(relativeError(await folded.toFloat32Array(), expected)).toBeLessThan(1e-7);
  });

  it("refuses norms of another count", () => {
    using v = device.zeros([4, 3]);
    using g = device.zeros([3, 1]);
    expect(() => foldWeightNorm(v, g)).toThrow(/one norm for each of 4 rows, got \[3, 1\]/);
  });
});

it("loads plain weights for a convolution without weight norm", async () => {
  const golden = readGolden("codec_decoder_24k");
  using weights = await goldenWeights(device, "codec_decoder_24k");
  const entries = write("f", { "conv.weight": f32([4, 3, 7], 1) });
  using plain = Weights.of(device, { "": entries });
  expect(await plain.folded("conv").toFloat32Array()).toEqual(randomArray(84, 1));
  using folded = weights.folded("decoder.model.0");
  const norms = golden.f32("weight.decoder.model.0.weight_g");
  const values = await folded.toFloat32Array();
  const size = values.length / norms.length;
  norms.forEach((g, i) => {
    expect(Math.hypot(...values.subarray(i * size, (i + 1) * size))).toBeCloseTo(Math.abs(g), 5);
  });
});
