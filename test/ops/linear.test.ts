import { describe, expect, test } from "vitest";
import { type Activation, linear, packWeight, packWeights, swiglu } from "../../lib/ops/linear.js";
import { Device } from "../../lib/tensor/tensor.js";
import { allDevices } from "../support/devices.js";
import { bf16, randomArray, relativeError } from "../support/numbers.js";

const activations: Record<Activation, (v: number) => number> = {
  none: (v) => v,
  relu: (v) => Math.max(v, 0),
  relu6: (v) => Math.min(Math.max(v, 0), 6),
  gelu: (v) => 0.5 * v * (1 + erf(v / Math.SQRT2)),
  silu: (v) => v / (1 + Math.exp(-v)),
  tanh: Math.tanh,
  sigmoid: (v) => 1 / (1 + Math.exp(-v)),
};

// A series for small arguments and a continued fraction for large ones, both to double precision.
function erf(x: number): number {
  const a = Math.abs(x);
  if (a < 2.5) {
    let sum = a;
    let term = a;
    for (let n = 1; n < 80; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction)));
}

/** x·Wᵀ in double precision. */
function product(x: ArrayLike<number>, w: ArrayLike<number>, m: number, n: number, k: number): Float64Array {
  return Float64Array.from({ length: m * n }, (_, i) => {
    const row = Math.floor(i / n) * k;
    const column = (i % n) * k;
    let sum = 0;
    for (let j = 0; j < k; j++) sum += x[row + j]! * w[column + j]!;
    return sum;
  });
}

const shapes: [number, number, number][] = [
  [1, 1, 1],
  [1, 16, 64],
  [3, 17, 33],
  [7, 100, 19],
  [13, 33, 300],
  [64, 48, 700],
];

describe.each(allDevices)("linear on $name", (device) => {
  test.each(shapes)("M=%i N=%i K=%i is x·Wᵀ, with the same bits for packed and plain weights", async (m, n, k) => {
    const x = randomArray(m * k, m);
    const w = randomArray(n * k, n);
    const expected = product(x, w, m, n, k);
    const plain = device.tensor(w, [n, k]);
    const input = device.tensor(x, [m, k]);
    const y = await linear(input, plain).toFloat32Array();
    expect(relativeError(y, expected)).toBeLessThan(1e-6);
    expect(await linear(input, packWeight(plain)).toFloat32Array()).toEqual(y);
  });

  test.each(shapes)("M=%i N=%i K=%i in bf16", async (m, n, k) => {
    const x = randomArray(m * k, m).map(bf16);
    const w = randomArray(n * k, n).map(bf16);
    const weight = packWeight(device.tensor(w, [n, k], "bf16"));
    const expected = product(x, w, m, n, k);
    const f32 = await linear(device.tensor(x, [m, k]), weight).toFloat32Array();
    expect(relativeError(f32, expected)).toBeLessThan(1e-6);
    const y = linear(device.tensor(x, [m, k], "bf16"), weight);
    expect(y.dtype).toBe("bf16");
    const wide = linear(device.tensor(x, [m, k], "bf16"), weight, { outDtype: "f32" });
    const sums = await wide.toFloat32Array();
    expect(relativeError(sums, expected)).toBeLessThan(1e-6);
    if (device.backend === "cpu") expect(sums).toEqual(f32); // tensor cores sum in a different order
    expect(await y.toFloat32Array()).toEqual(sums.map(bf16));
  });

  test("f8e4m3 weights have one scale per 128×128 block", async () => {
    const [m, n, k] = [5, 200, 300];
    const x = randomArray(m * k, 1);
    const codes = device.tensor(randomArray(n * k, 2, 448), [n, k], "f8e4m3");
    const stored = await codes.toFloat32Array();
    const scale = randomArray(2 * 3, 3).map((v) => 0.01 + Math.abs(v));
    const w = Float64Array.from(stored, (v, i) => {
      const block = Math.floor(Math.floor(i / k) / 128) * 3 + Math.floor((i % k) / 128);
      return v * scale[block]!;
    });
    const y = linear(device.tensor(x, [m, k]), packWeight(codes, { scale: device.tensor(scale, [2, 3]) }));
    expect(relativeError(await y.toFloat32Array(), product(x, w, m, n, k))).toBeLessThan(1e-6);
    const damaged = new Uint8Array(n * k);
    damaged[3 * k + 7] = 0x7f;
    const packed = packWeight(device.tensor(damaged, [n, k], "f8e4m3"), { scale: device.tensor(scale, [2, 3]) });
    await expect(linear(device.zeros([1, k]), packed).read()).rejects.toThrowError(/NaN at row 3, column 7/);
    // @ts-expect-error the scale is missing
    expect(() => packWeight(codes)).toThrowError(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    // @ts-expect-error the weight must be packed with its scale
    expect(() => linear(device.zeros([1, k]), codes)).toThrowError(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });

  test.each(Object.keys(activations) as Activation[])(
    "bias, %s, LayerScale and residual are fused",
    async (activation) => {
      const [m, n, k] = [4, 37, 50];
      const [x, w, bias, gain, residual] = [m * k, n * k, n, n, m * n].map((size, i) => randomArray(size, i + 1, 2));
      const sums = product(x!, w!, m, n, k);
      const expected = sums.map((v, i) => residual![i]! + gain![i % n]! * activations[activation](v + bias![i % n]!));
      const y = linear(device.tensor(x!, [m, k]), device.tensor(w!, [n, k]), {
        bias: device.tensor(bias!, [n]),
        layerScale: device.tensor(gain!, [n]),
        residual: device.tensor(residual!, [m, n]),
        activation,
      });
      expect(relativeError(await y.toFloat32Array(), expected)).toBeLessThan(2e-6);
    },
  );

  test("swiglu is silu(gate) ⊙ up", async () => {
    const [m, n, k] = [9, 35, 64];
    const [x, g, u, gb, ub] = [m * k, n * k, n * k, n, n].map((size, i) => randomArray(size, i + 7));
    const gate = product(x!, g!, m, n, k);
    const up = product(x!, u!, m, n, k);
    const expected = gate.map((v, i) => activations.silu(v + gb![i % n]!) * (up[i]! + ub![i % n]!));
    const y = swiglu(device.tensor(x!, [m, k]), device.tensor(g!, [n, k]), device.tensor(u!, [n, k]), {
      gateBias: device.tensor(gb!, [n]),
      upBias: device.tensor(ub!, [n]),
    });
    expect(relativeError(await y.toFloat32Array(), expected)).toBeLessThan(2e-6);
  });

  test.each(["f32", "bf16"] as const)(
    "a row's bits do not depend on the batch or the threads (%s weights)",
    async (dtype) => {
      const [m, n, k] = [100, 80, 900];
      const x = randomArray(m * k, 5);
      const w = randomArray(n * k, 6);
      const whole = await linear(
        device.tensor(x, [m, k]),
        packWeight(device.tensor(w, [n, k], dtype)),
      ).toFloat32Array();
      await using other = await Device.open(
        device.backend === "cuda" ? { backend: "cuda" } : { backend: "cpu", threads: 3, isa: device.isa as "avx2" },
      );
      const packed = packWeight(other.tensor(w, [n, k], dtype));
      for (const [first, last] of [
        [0, 1],
        [3, 9],
        [50, 98],
      ] as const) {
        const part = await linear(
          other.tensor(x.subarray(first * k, last * k), [last - first, k]),
          packed,
        ).toFloat32Array();
        expect(part).toEqual(whole.subarray(first * n, last * n));
      }
    },
  );

  test("zero rows, columns or depth are allowed", async () => {
    expect(await linear(device.zeros([0, 8]), device.zeros([4, 8])).toFloat32Array()).toHaveLength(0);
    expect(await linear(device.zeros([3, 8]), device.zeros([0, 8])).toFloat32Array()).toHaveLength(0);
    const bias = device.tensor([1, 2], [2]);
    expect([...(await linear(device.zeros([1, 0]), device.zeros([2, 0]), { bias }).toFloat32Array())]).toEqual([1, 2]);
  });

  test("leading dimensions are kept", () => {
    expect(linear(device.zeros([2, 3, 8]), device.zeros([5, 8])).shape).toEqual([2, 3, 5]);
  });

  test("an error about a mismatch names the argument", () => {
    const x = device.zeros([2, 8]);
    expect(() => linear(x, device.zeros([4, 9]) as never)).toThrowError(/w must have shape \[\*, 8\]/);
    // @ts-expect-error w has 4 rows
    expect(() => linear(x, device.zeros([4, 8]), { bias: device.zeros([5]) })).toThrowError(/bias/);
    expect(() => linear(x, device.zeros([4, 8], "i32") as never)).toThrowError(
      expect.objectContaining({ code: "DTYPE_MISMATCH" }),
    );
    expect(() => linear(x, device.zeros([4, 8]), { activation: "no such activation" as never })).toThrowError(
      /one of none, relu/,
    );
    expect(packWeights([device.zeros([4, 8])]).shape).toEqual([1, 4, 8]);
    // @ts-expect-error the matrices differ
    expect(() => packWeights([device.zeros([4, 8]), device.zeros([4, 9])])).toThrowError(
      expect.objectContaining({ code: "SHAPE_MISMATCH" }),
    );
  });
});
