// Tests of attention that only the CUDA backend needs: tiles and their edges, the kernels for tensor cores, and the choice
// between them and exact f32, with the model's heads. The CPU backend provides the expected values.
import { describe, expect, test } from "vitest";
import { attention, vitAttention } from "../../lib/ops/attention.js";
import type { Device } from "../../lib/tensor/tensor.js";
import { cuda, devices } from "../support/devices.js";
import { randomArray, relativeError } from "../support/numbers.js";

type Rows = "f32" | "bf16";

describe.skipIf(!cuda)("attention on CUDA", () => {
  const device = cuda as Device;
  const cpu = devices[devices.length - 1] as Device;

  interface Shape {
    readonly starts: readonly number[];
    readonly heads: number;
    readonly dim: number;
    readonly causal?: boolean;
  }

  async function run(on: Device, x: readonly Float32Array[], shape: Shape, dtype: Rows): Promise<Float32Array> {
    const { starts, heads, dim, causal } = shape;
    const [q, k, v] = x.map((values) => on.tensor(values, [starts.at(-1)!, heads, dim], dtype));
    const cuSeqlens = on.tensor([...starts], [starts.length], "i32");
    return attention(q!, k!, v!, { cuSeqlens, causal }).toFloat32Array();
  }
  const inputs = (shape: Shape, seed = 1) =>
    [0, 1, 2].map((i) => randomArray(shape.starts.at(-1)! * shape.heads * shape.dim, seed + i, i < 2 ? 2 : 1));

  const shapes: readonly Shape[] = [
    { starts: [0, 1], heads: 1, dim: 80 },
    { starts: [0, 63, 63, 127, 192, 322], heads: 2, dim: 80 },
    { starts: [0, 63, 63, 127, 192, 322], heads: 1, dim: 64, causal: true },
    { starts: [0, 200], heads: 2, dim: 128, causal: true },
    { starts: [0, 0, 65, 66], heads: 3, dim: 128 },
    { starts: [0, 40], heads: 1, dim: 136 }, // more columns than one block takes in exact f32
  ];
  test.each(shapes)("bf16: %o", async (shape) => {
    const x = inputs(shape);
    const out = await run(device, x, shape, "bf16");
    expect(relativeError(out, await run(cpu, x, shape, "bf16"))).toBeLessThan(5e-3);
    expect(await run(device, x, shape, "bf16")).toEqual(out);
  });

  test.each([false, true])("bf16: packing sequences does not change their bits (causal %s)", async (causal) => {
    const shape = { starts: [0, 70, 71, 200], heads: 2, dim: 80, causal };
    const x = inputs(shape, 5);
    const packed = await run(device, x, shape, "bf16");
    for (let s = 0; s < 3; s++) {
      const [from, to] = [shape.starts[s]! * 160, shape.starts[s + 1]! * 160];
      const part = x.map((values) => values.slice(from, to));
      const alone = await run(device, part, { ...shape, starts: [0, (to - from) / 160] }, "bf16");
      expect(alone).toEqual(packed.subarray(from, to));
    }
  });

  test("bf16: a prefix of a causal sequence has the same bits as the whole", async () => {
    const shape = { starts: [0, 150], heads: 1, dim: 64, causal: true };
    const x = inputs(shape, 6);
    const whole = await run(device, x, shape, "bf16");
    for (const n of [1, 64, 65, 140]) {
      const prefix = x.map((values) => values.slice(0, n * 64));
      expect(await run(device, prefix, { ...shape, starts: [0, n] }, "bf16")).toEqual(whole.subarray(0, n * 64));
    }
  });

  test("rows without alignment", async () => {
    const [rows, dim] = [20, 80];
    const x = inputs({ starts: [0, rows], heads: 1, dim }, 7);
    for (const dtype of ["f32", "bf16"] as const) {
      const shifted = x.map((values) => {
        const padded = device.tensor(Float32Array.from([0, ...values]), [rows * dim + 1], dtype);
        return padded.slice(1).reshape([rows, 1, dim]);
      });
      const cuSeqlens = device.tensor([0, rows], [2], "i32");
      const out = await attention(shifted[0]!, shifted[1]!, shifted[2]!, { cuSeqlens }).toFloat32Array();
      const expected = await run(cpu, x, { starts: [0, rows], heads: 1, dim }, dtype);
      expect(relativeError(out, expected)).toBeLessThan(dtype === "f32" ? 1e-6 : 3e-3);
    }
  });

  test.each(["f32", "bf16"] as const)("%s: a NaN query affects only its row", async (dtype) => {
    const shape = { starts: [0, 70], heads: 1, dim: 80 };
    const x = inputs(shape, 8);
    const expected = await run(device, x, shape, dtype);
    x[0]!.fill(Number.NaN, 80, 160);
    const damaged = await run(device, x, shape, dtype);
    expect(damaged.subarray(80, 160).every(Number.isNaN)).toBe(true);
    expected.fill(Number.NaN, 80, 160);
    expect(damaged).toEqual(expected);
  });

  test.each([
    ["bf16", 80, 5e-3],
    ["bf16", 40, 5e-3],
    ["f32", 80, 1e-6],
  ] as const)("vitAttention of %s, heads of %i", async (dtype, dim, tolerance) => {
    const heads = 2;
    const width = heads * dim;
    const starts = [0, 35, 35, 36, 116];
    const rows = starts.at(-1)!;
    const vit = async (on: Device) =>
      await vitAttention(on.tensor(randomArray(rows * 3 * width, 1), [rows, 3 * width], dtype), {
        heads,
        cuSeqlens: on.tensor(starts, [starts.length], "i32"),
        positions: on.tensor(
          Array.from({ length: 2 * rows }, (_, i) => (i * 7) % 80),
          [rows, 2],
          "i32",
        ),
        qNorm: on.tensor(randomArray(width, 2, 2), [width], dtype),
        kNorm: on.tensor(randomArray(width, 3, 2), [width]),
        theta: 10000,
        eps: 1e-6,
      }).toFloat32Array();
    const out = await vit(device);
    expect(relativeError(out, await vit(cpu))).toBeLessThan(tolerance);
    expect(await vit(device)).toEqual(out);
  });
});
