import { describe, expect, test } from "vitest";
import { attention, rope, vitAttention } from "../../lib/ops/attention.js";
import { Device } from "../../lib/tensor/tensor.js";
import { allDevices } from "../support/devices.js";
import { bf16, randomArray, relativeError } from "../support/numbers.js";

const rounded = (values: Float32Array) => values.map(bf16);

/** softmax(scale · q kᵀ) v for one head of one sequence, rows `[from, to)` of `[T, heads · dim]`. */
function attendHead(
  [q, k, v]: readonly [Float64Array, Float64Array, Float64Array],
  out: Float64Array,
  {
    from,
    to,
    width,
    column,
    dim,
    scale,
    causal,
  }: Record<"from" | "to" | "width" | "column" | "dim" | "scale", number> & {
    causal: boolean;
  },
): void {
  for (let i = from; i < to; i++) {
    const keys = causal ? i + 1 : to;
    const scores: number[] = [];
    for (let j = from; j < keys; j++) {
      let dot = 0;
      for (let d = column; d < column + dim; d++) dot += q[i * width + d]! * k[j * width + d]!;
      scores.push(dot * scale);
    }
    const max = Math.max(...scores);
    const weights = scores.map((s) => Math.exp(s - max));
    const sum = weights.reduce((a, b) => a + b, 0);
    for (let d = column; d < column + dim; d++)
      out[i * width + d] = weights.reduce((o, w, j) => o + w * v[(from + j) * width + d]!, 0) / sum;
  }
}

function referenceAttention(
  qkv: readonly [ArrayLike<number>, ArrayLike<number>, ArrayLike<number>],
  { starts, heads, dim, causal = false, scale = dim ** -0.5 }: Shape,
): Float64Array {
  const rows = qkv.map((x) => Float64Array.from(x)) as [Float64Array, Float64Array, Float64Array];
  const out = new Float64Array(rows[0].length);
  const width = heads * dim;
  for (let s = 0; s + 1 < starts.length; s++)
    for (let h = 0; h < heads; h++)
      attendHead(rows, out, { from: starts[s]!, to: starts[s + 1]!, width, column: h * dim, dim, scale, causal });
  return out;
}

interface Shape {
  readonly starts: readonly number[];
  readonly heads: number;
  readonly dim: number;
  readonly causal?: boolean;
  readonly scale?: number;
}

async function run(device: Device, [q, k, v]: readonly Float32Array[], shape: Shape, dtype: "f32" | "bf16" = "f32") {
  const { starts, heads, dim, causal, scale } = shape;
  const [tq, tk, tv] = [q, k, v].map((x) => device.tensor(x!, [starts.at(-1)!, heads, dim], dtype));
  using cuSeqlens = device.tensor([...starts], [starts.length], "i32");
  using out = attention(tq!, tk!, tv!, { cuSeqlens, causal, scale });
  expect(out.shape).toEqual([starts.at(-1)!, heads * dim]);
  return out.toFloat32Array();
}

const random3 = (n: number, seed: number, scale = 1) =>
  [randomArray(n, seed, scale), randomArray(n, seed + 1, scale), randomArray(n, seed + 2)] as const;

describe.each(allDevices)("attention on $name", (device) => {
  test.each<Shape>([
    { starts: [0, 1], heads: 1, dim: 8 },
    { starts: [0, 5, 5, 22], heads: 3, dim: 24 },
    { starts: [0, 16, 49, 50], heads: 4, dim: 16, causal: true },
    { starts: [0, 300], heads: 2, dim: 80 },
    { starts: [0, 131, 400], heads: 1, dim: 40, causal: true },
    { starts: [0, 0, 7, 7], heads: 16, dim: 8, scale: 1.5 },
  ])("matches the definition: %o", async (shape) => {
    const x = random3(shape.starts.at(-1)! * shape.heads * shape.dim, 7, 2);
    expect(relativeError(await run(device, x, shape), referenceAttention(x, shape))).toBeLessThan(1e-6);
  });

  test("widely spread scores neither overflow nor underflow", async () => {
    const shape = { starts: [0, 200], heads: 1, dim: 16, scale: 20 };
    const x = random3(200 * 16, 3, 8);
    expect(relativeError(await run(device, x, shape), referenceAttention(x, shape))).toBeLessThan(1e-4);
  });

  test("bf16 rounds the result only", async () => {
    const shape = { starts: [0, 20, 150], heads: 2, dim: 24, causal: true };
    const x = random3(150 * 48, 11).map(rounded) as unknown as ReturnType<typeof random3>;
    const expected = rounded(Float32Array.from(referenceAttention(x, shape)));
    expect(relativeError(await run(device, x, shape, "bf16"), expected)).toBeLessThan(1e-3);
  });

  test.each([false, true])("packing sequences does not change their bits (causal %s)", async (causal) => {
    const starts = [0, 33, 34, 210];
    const width = 3 * 40;
    const x = random3(210 * width, 5);
    const packed = await run(device, x, { starts, heads: 3, dim: 40, causal });
    for (let s = 0; s < 3; s++) {
      const [from, to] = [starts[s]!, starts[s + 1]!];
      const alone = x.map((v) => v.slice(from * width, to * width));
      const out = await run(device, alone, { starts: [0, to - from], heads: 3, dim: 40, causal });
      expect(out).toEqual(packed.slice(from * width, to * width));
    }
  });

  test("a prefix of a causal sequence has the same bits as the whole", async () => {
    const x = random3(300 * 16, 6);
    const whole = await run(device, x, { starts: [0, 300], heads: 1, dim: 16, causal: true });
    for (const n of [1, 17, 129, 250]) {
      const prefix = x.map((v) => v.slice(0, n * 16));
      const out = await run(device, prefix, { starts: [0, n], heads: 1, dim: 16, causal: true });
      expect(out).toEqual(whole.slice(0, n * 16));
    }
  });

  test("no sequences and empty sequences", async () => {
    expect(await run(device, random3(0, 1), { starts: [0], heads: 2, dim: 8 })).toHaveLength(0);
    expect(await run(device, random3(0, 1), { starts: [0, 0, 0], heads: 2, dim: 8 })).toHaveLength(0);
  });

  test("bad input is refused", async () => {
    const x = device.zeros([4, 2, 8]);
    const cu = (...values: number[]) => device.tensor(values, [values.length], "i32");
    const refusal = (code: string) => expect.objectContaining({ code });
    const cuSeqlens = cu(0, 4);
    expect(() => attention(x, device.zeros([4, 2, 16]) as never, x, { cuSeqlens })).toThrowError(
      refusal("SHAPE_MISMATCH"),
    );
    expect(() => attention(x, x, device.zeros([4, 2, 8], "bf16") as never, { cuSeqlens })).toThrowError(
      refusal("DTYPE_MISMATCH"),
    );
    const odd = device.zeros([4, 2, 12]);
    expect(() => attention(odd, odd, odd, { cuSeqlens })).toThrowError(refusal("SHAPE_MISMATCH"));
    expect(() => attention(x, x, x, { cuSeqlens: device.zeros([2]) as never })).toThrowError(refusal("DTYPE_MISMATCH"));
    for (const bad of [cu(0, 3, 2, 4), cu(0, 5), cu(0, 3), cu(1, 4), cu(-1, 4), cu(0, 2 ** 31 - 1, 4), cu(4)])
      await expect(attention(x, x, x, { cuSeqlens: bad }).read()).rejects.toThrow(refusal("INDEX_OUT_OF_RANGE"));
  });
});

describe.each(allDevices)("vitAttention on $name", (device) => {
  interface Input {
    readonly qkv: Float32Array;
    readonly starts: readonly number[];
    readonly positions: readonly number[];
    readonly heads: number;
    readonly norms: readonly [Float32Array, Float32Array];
  }
  const width = 2 * 24;

  function input(grids: readonly (readonly [number, number])[], seed: number): Input {
    const positions = grids.flatMap(([h, w]) =>
      Array.from({ length: h * w }, (_, i) => [Math.floor(i / w), i % w]).flat(),
    );
    const starts = [0];
    for (const [h, w] of grids) starts.push(starts.at(-1)! + h * w);
    const norms = [randomArray(width, seed + 1, 2), randomArray(width, seed + 2, 2)] as const;
    return { qkv: randomArray(starts.at(-1)! * 3 * width, seed), starts, positions, heads: 2, norms };
  }

  async function runVit(x: Input, dtype: "f32" | "bf16" = "f32"): Promise<Float32Array> {
    const rows = x.starts.at(-1)!;
    using out = vitAttention(device.tensor(x.qkv, [rows, 3 * width], dtype), {
      heads: x.heads,
      cuSeqlens: device.tensor([...x.starts], [x.starts.length], "i32"),
      positions: device.tensor([...x.positions], [rows, 2], "i32"),
      qNorm: device.tensor(x.norms[0], [width]),
      kNorm: device.tensor(x.norms[1], [width]),
      theta: 1000,
      eps: 1e-6,
    });
    return out.toFloat32Array();
  }

  function reference({ qkv, starts, positions, heads, norms }: Input): Float64Array {
    const rows = starts.at(-1)!;
    const dim = width / heads;
    const part = (column: number) =>
      Float64Array.from(
        { length: rows * width },
        (_, i) => qkv[Math.floor(i / width) * 3 * width + column + (i % width)]!,
      );
    const prepare = (x: Float64Array, norm: Float32Array) => {
      for (let t = 0; t < rows; t++) {
        const row = x.subarray(t * width, (t + 1) * width);
        for (let h = 0; h < heads; h++) {
          const head = row.subarray(h * dim, (h + 1) * dim);
          for (let i = 0; i < dim / 2; i++) {
            const axis = i < dim / 4 ? 0 : 1;
            const angle = positions[2 * t + axis]! * 1000 ** (-(4 * (i - (axis * dim) / 4)) / dim);
            const [a, b] = [head[i]!, head[i + dim / 2]!];
            head[i] = a * Math.cos(angle) - b * Math.sin(angle);
            head[i + dim / 2] = b * Math.cos(angle) + a * Math.sin(angle);
          }
        }
        const rms = Math.sqrt(row.reduce((s, e) => s + e * e, 0) / width + 1e-6);
        row.forEach((e, i) => {
          row[i] = (e / rms) * norm[i]!;
        });
      }
      return x;
    };
    return referenceAttention([prepare(part(0), norms[0]), prepare(part(width), norms[1]), part(2 * width)], {
      starts,
      heads,
      dim,
    });
  }

  test("matches the definition", async () => {
    const x = input(
      [
        [3, 4],
        [1, 1],
        [11, 13],
      ],
      20,
    );
    expect(relativeError(await runVit(x), reference(x))).toBeLessThan(1e-6);
  });

  test("bf16 rounds the result only", async () => {
    const x = input(
      [
        [3, 4],
        [5, 6],
      ],
      21,
    );
    const narrow = { ...x, qkv: rounded(x.qkv) };
    expect(relativeError(await runVit(narrow, "bf16"), reference(narrow))).toBeLessThan(3e-3);
  });

  test("packing images does not change their bits", async () => {
    const [a, b] = [input([[3, 5]], 22), input([[9, 15]], 23)];
    const both = {
      ...input(
        [
          [3, 5],
          [9, 15],
        ],
        22,
      ),
      qkv: Float32Array.from([...a.qkv, ...b.qkv]),
    };
    const packed = await runVit(both);
    expect(packed).toEqual(Float32Array.from([...(await runVit(a)), ...(await runVit({ ...b, norms: a.norms }))]));
  });

  test("bad input is refused", async () => {
    const qkv = device.zeros([4, 3 * width]);
    const options = {
      heads: 2,
      cuSeqlens: device.tensor([0, 4], [2], "i32"),
      positions: device.zeros([4, 2], "i32"),
      qNorm: device.zeros([width]),
      kNorm: device.zeros([width]),
    };
    const refused = (change: object, code: string) =>
      expect(() => vitAttention(qkv, { ...options, ...change })).toThrowError(expect.objectContaining({ code }));
    refused({ heads: 0 }, "INVALID_ARGUMENT");
    refused({ heads: 5 }, "SHAPE_MISMATCH");
    refused({ heads: 4 }, "SHAPE_MISMATCH"); // 12 elements per head
    refused({ positions: device.zeros([4], "i32") }, "SHAPE_MISMATCH");
    refused({ kNorm: device.zeros([width + 1]) }, "SHAPE_MISMATCH");
    const out = vitAttention(qkv, { ...options, cuSeqlens: device.tensor([0, 5], [2], "i32") });
    await expect(out.read()).rejects.toThrow(expect.objectContaining({ code: "INDEX_OUT_OF_RANGE" }));
  });
});

describe.each(allDevices)("rope on $name", (device) => {
  function reference(x: Float32Array, positions: readonly number[], heads: number, dim: number, rotated: number) {
    const out = Float64Array.from(x);
    for (let v = 0; v < positions.length * heads; v++)
      for (let i = 0; i < rotated / 2; i++) {
        const angle = positions[Math.floor(v / heads)]! * 1e7 ** ((-2 * i) / rotated);
        const at = v * dim + dim - rotated + 2 * i;
        out[at] = x[at]! * Math.cos(angle) - x[at + 1]! * Math.sin(angle);
        out[at + 1] = x[at + 1]! * Math.cos(angle) + x[at]! * Math.sin(angle);
      }
    return out;
  }

  test.each([
    [1, 64, 64],
    [3, 24, 8],
    [4, 48, 36],
    [2, 7, 2], // rows without alignment
    [70, 40, 16], // more heads than one CUDA block takes
    [1, 1040, 1032], // more pairs than one pass of the CUDA kernel
  ])("%i heads of %i, the last %i elements rotated", async (heads, dim, ropeDim) => {
    const positions = [0, 1, 77, 131071, -5, 2 ** 31 - 1];
    const x = randomArray(positions.length * heads * dim, 9);
    using out = rope(
      device.tensor(x, [positions.length, heads, dim]),
      device.tensor(positions, [positions.length], "i32"),
      { theta: 1e7, ropeDim },
    );
    const values = await out.toFloat32Array();
    const expected = reference(x, positions, heads, dim, ropeDim);
    expect(Math.max(...values.map((v, i) => Math.abs(v - expected[i]!)))).toBeLessThan(3e-7);
  });

  test("bf16, the whole head by default, no rows", async () => {
    const x = rounded(randomArray(2 * 2 * 16, 4));
    using out = rope(device.tensor(x, [2, 2, 16], "bf16"), device.tensor([3, 70000], [2], "i32"), { theta: 1e7 });
    expect(relativeError(await out.toFloat32Array(), reference(x, [3, 70000], 2, 16, 16))).toBeLessThan(3e-3);
    using none = rope(device.zeros([0, 2, 16]), device.zeros([0], "i32"), { theta: 1e7 });
    expect(await none.read()).toHaveLength(0);
  });

  test("bad input is refused", () => {
    const [x, positions] = [device.zeros([2, 2, 16]), device.zeros([2], "i32")];
    const refused = (code: string, fn: () => void) => expect(fn).toThrowError(expect.objectContaining({ code }));
    refused("INVALID_ARGUMENT", () => rope(x, positions, { theta: 1e7, ropeDim: 7 }));
    refused("INVALID_ARGUMENT", () => rope(x, positions, { theta: 1e7, ropeDim: 18 }));
    refused("INVALID_ARGUMENT", () => rope(x, positions, { theta: 0 }));
    // @ts-expect-error there are two tokens
    refused("SHAPE_MISMATCH", () => rope(x, device.zeros([3], "i32"), { theta: 1e7 }));
    refused("DTYPE_MISMATCH", () => rope(x, device.zeros([2]) as never, { theta: 1e7 }));
  });
});

test("bits do not depend on the number of threads", async () => {
  const starts = [0, 70, 71, 340];
  const x = random3(340 * 48, 8);
  const results = [];
  for (const threads of [1, 2, 3]) {
    await using device = await Device.open({ backend: "cpu", threads });
    results.push(await run(device, x, { starts, heads: 2, dim: 24, causal: true }));
  }
  expect(results[1]).toEqual(results[0]);
  expect(results[2]).toEqual(results[0]);
});
