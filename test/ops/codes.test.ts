import { describe, expect, test } from "vitest";
import {
  type AffineScale,
  type CodeBits,
  groupedGemm,
  groupedSwiglu,
  linear,
  packWeight,
  packWeights,
  type ScaleDType,
  swiglu,
} from "../../lib/ops/index.js";
import { Device, type Tensor } from "../../lib/tensor/tensor.js";
import { allDevices } from "../support/devices.js";
import { randomArray, relativeError } from "../support/numbers.js";

const allBits: readonly CodeBits[] = [2, 3, 4, 5, 6, 8];

/** A matrix of random codes with scales and biases, and the weights that they stand for. */
interface Codes {
  readonly stored: Uint8Array;
  readonly scale: Float32Array;
  readonly bias: Float32Array;
  readonly weights: Float64Array;
}

/** Writes codes as one little-endian stream of bits per row. */
function stream(codes: readonly number[], bits: number): number[] {
  const bytes: number[] = new Array((codes.length * bits) / 8).fill(0);
  codes.forEach((code, i) => {
    for (let b = 0; b < bits; b++) {
      const bit = i * bits + b;
      bytes[bit >> 3]! |= ((code >> b) & 1) << (bit & 7);
    }
  });
  return bytes;
}

/** `round` is what storing a scale in its dtype does to it. */
function randomCodes(n: number, k: number, bits: number, group: number, seed: number, symmetric = false): Codes {
  const half = 2 ** (bits - 1);
  const codes = Array.from(randomArray(n * k, seed), (v) => Math.min(2 * half - 1, Math.floor((v + 1) * half)));
  // Multiples of 2^-7 are exact in every dtype of scales, and so are their products with halves of code ranges.
  const scale = randomArray((n * k) / group, seed + 1).map((v) => Math.round(v * 100 + 120) / 128);
  const bias = symmetric
    ? scale.map((s) => -half * s)
    : randomArray((n * k) / group, seed + 2, half).map((v) => Math.round(v));
  const stored = Uint8Array.from(
    Array.from({ length: n }, (_, row) => stream(codes.slice(row * k, (row + 1) * k), bits)).flat(),
  );
  const weights = Float64Array.from(
    codes,
    (code, i) => scale[Math.floor(i / group)]! * code + bias[Math.floor(i / group)]!,
  );
  return { stored, scale, bias, weights };
}

function product(x: Float32Array, w: Float64Array, m: number, n: number, k: number): Float64Array {
  return Float64Array.from({ length: m * n }, (_, i) => {
    const [row, column] = [Math.floor(i / n) * k, (i % n) * k];
    let sum = 0;
    for (let j = 0; j < k; j++) sum += x[row + j]! * w[column + j]!;
    return sum;
  });
}

function options<B extends CodeBits>(
  device: Device,
  c: Codes,
  bits: B,
  shape: readonly [number, number],
  dtype: ScaleDType = "f32",
  symmetric = false,
): AffineScale<B> {
  const tensor = (values: Float32Array) => device.tensor(values, shape, dtype) as Tensor<ScaleDType>;
  return { bits, scale: tensor(c.scale), ...(symmetric ? {} : { bias: tensor(c.bias) }) };
}

function packed<B extends CodeBits>(device: Device, c: Codes, n: number, k: number, bits: B, group: number) {
  const w = device.tensor(c.stored, [n, (k * bits) / 8], "u8") as Tensor<"u8", readonly [number, number]>;
  return packWeight(w, options(device, c, bits, [n, k / group]));
}

describe.each(allDevices)("weights of codes on $name", (device) => {
  test.each(allBits)("%i bits: weight = scale · code + bias, for every group and number of rows", async (bits) => {
    for (const [m, n, k, group] of [
      [1, 16, 64, 64],
      [1, 100, 256, 32],
      [3, 33, 384, 128],
      [7, 48, 1664, 64],
      [29, 17, 640, 32],
    ] as const) {
      const c = randomCodes(n, k, bits, group, m * 10 + bits);
      const x = randomArray(m * k, m);
      const y = await linear(device.tensor(x, [m, k]), packed(device, c, n, k, bits, group)).toFloat32Array();
      expect(relativeError(y, product(x, c.weights, m, n, k)), `${[m, n, k, group]}`).toBeLessThan(1e-6);
    }
  });

  test.each(["f32", "bf16", "f16"] as const)("scales and biases in %s, or codes around the middle", async (dtype) => {
    const [m, n, k, group] = [2, 40, 192, 64];
    const x = randomArray(m * k, 1);
    for (const bits of [4, 8] as const)
      for (const symmetric of [false, true]) {
        const c = randomCodes(n, k, bits, group, bits, symmetric);
        const w = device.tensor(c.stored, [n, (k * bits) / 8], "u8") as Tensor<"u8", readonly [number, number]>;
        const weight = packWeight(w, options(device, c, bits, [n, k / group], dtype, symmetric));
        expect(weight.dtype).toBe(bits === 4 ? "q4" : "q8");
        expect(weight.shape).toEqual([n, k]);
        const y = await linear(device.tensor(x, [m, k]), weight).toFloat32Array();
        expect(relativeError(y, product(x, c.weights, m, n, k))).toBeLessThan(1e-6);
      }
  });

  test("without biases, scales in f16 may be as large as they can", async () => {
    const [m, n, k, group, bits] = [3, 16, 128, 64, 8] as const;
    const c = randomCodes(n, k, bits, group, 1, true);
    const large = { ...c, scale: c.scale.map((s) => s * 2 ** 15), weights: c.weights.map((w) => w * 2 ** 15) };
    const x = device.tensor(randomArray(m * k, 1), [m, k]);
    const expected = product(randomArray(m * k, 1), large.weights, m, n, k);
    const codes = device.tensor(c.stored, [n, k], "u8") as Tensor<"u8", readonly [number, number]>;
    const { scale } = options(device, large, bits, [n, k / group], "f16", true);
    expect(relativeError(await linear(x, packWeight(codes, { bits, scale })).toFloat32Array(), expected)).toBeLessThan(
      1e-6,
    );
    const experts = packWeights([codes], { bits, scales: [scale] });
    const offsets = device.tensor([0, m], [2], "i32");
    const y = groupedGemm(x, experts, offsets);
    expect(relativeError(await y.toFloat32Array(), expected)).toBeLessThan(1e-6);
  });

  test("a row's bits depend neither on the batch nor on the threads", async () => {
    const [m, n, k, group] = [64, 80, 1152, 64];
    const x = randomArray(m * k, 5);
    await using one = await Device.open({
      backend: device.backend,
      ...(device.backend === "cpu" ? { threads: 1, isa: device.isa as never } : {}),
    });
    for (const bits of [4, 8] as const) {
      const c = randomCodes(n, k, bits, group, 6);
      const w = packed(device, c, n, k, bits, group);
      const all = await linear(device.tensor(x, [m, k]), w).toFloat32Array();
      for (const rows of [1, 2, 5, 6, 7, 13, 40]) {
        const some = await linear(device.tensor(x.slice(0, rows * k), [rows, k]), w).toFloat32Array();
        expect(some).toEqual(all.slice(0, rows * n));
      }
      const alone = linear(one.tensor(x, [m, k]), packed(one, c, n, k, bits, group));
      expect(await alone.toFloat32Array()).toEqual(all);
    }
  });

  test("rows of 8-bit integers change results by less than a percent, and a row's bits depend on it alone", async () => {
    const [m, n, k] = [19, 80, 1024];
    const x = randomArray(m * k, 5);
    x.fill(0, 0, 128); // a group of zeros
    for (const [bits, group] of [
      [4, 32],
      [4, 64],
      [8, 64],
      [8, 128],
    ] as const) {
      const c = randomCodes(n, k, bits, group, 6, true);
      const w = packed(device, c, n, k, bits, group);
      const rounded = (rows: number) => linear(device.tensor(x.slice(0, rows * k), [rows, k]), w, { int8Rows: true });
      const all = await rounded(m).toFloat32Array();
      const error = relativeError(all, product(x, c.weights, m, n, k));
      expect(error).toBeLessThan(0.01);
      if (device.isa === "avx2" || device.isa === "avx512") expect(error).toBeGreaterThan(0.001);
      for (const rows of [1, 2, 3, 5, 6, 8, 13])
        expect(await rounded(rows).toFloat32Array()).toEqual(all.slice(0, rows * n));
    }
    const plain = packWeight(device.tensor(randomArray(n * k, 3), [n, k]));
    const input = device.tensor(x, [m, k]);
    const exact = await linear(input, plain).toFloat32Array();
    expect(await linear(input, plain, { int8Rows: true }).toFloat32Array()).toEqual(exact);
    const special = x.slice(0, 3 * k);
    special[5] = Number.NaN;
    special[k + 7] = Number.POSITIVE_INFINITY;
    const c = randomCodes(n, k, 4, 64, 6);
    const y = await linear(device.tensor(special, [3, k]), packed(device, c, n, k, 4, 64), {
      int8Rows: true,
    }).toFloat32Array();
    expect([y.slice(0, 2 * n).some(Number.isFinite), y.slice(2 * n).every(Number.isFinite)]).toEqual([false, true]);
  });

  test("swiglu and the experts' products give the bits of linear", async () => {
    const [n, k, group, experts] = [48, 256, 32, 3];
    const c = Array.from({ length: 2 * experts }, (_, i) => randomCodes(n, k, 4, group, i));
    const x = device.tensor(randomArray(9 * k, 3), [9, k]);
    const w = (i: number) => packed(device, c[i]!, n, k, 4, group);
    const stack = (first: number) => {
      const list = c.slice(first, first + experts);
      return packWeights(
        list.map((e) => device.tensor(e.stored, [n, k / 2], "u8")),
        {
          bits: 4,
          scales: list.map((e) => device.tensor(e.scale, [n, k / group])),
          biases: list.map((e) => device.tensor(e.bias, [n, k / group])),
        },
      );
    };
    const offsets = device.tensor(Int32Array.of(0, 4, 4, 9), [experts + 1], "i32");
    const gemm = groupedGemm(x, stack(0), offsets as never);
    const gated = groupedSwiglu(x, stack(0), stack(experts) as never, offsets as never);
    const rows = async (t: Tensor, first: number, end: number) => (await t.toFloat32Array()).slice(first * n, end * n);
    const quick = groupedSwiglu(x, stack(0), stack(experts) as never, offsets as never, { int8Rows: true });
    const quickRows = swiglu(x, w(2), w(experts + 2), { int8Rows: true });
    expect(await rows(quick, 4, 9)).toEqual(await rows(quickRows, 4, 9));
    for (const [e, first, end] of [
      [0, 0, 4],
      [2, 4, 9],
    ] as const) {
      expect(await rows(gemm, first, end)).toEqual(await rows(linear(x, w(e)), first, end));
      expect(await rows(gated, first, end)).toEqual(await rows(swiglu(x, w(e), w(experts + e)), first, end));
    }
    const both = device.tensor(
      Uint8Array.from(c.slice(0, experts).flatMap((e) => [...e.stored])),
      [experts, n, k / 2],
      "u8",
    );
    const scales = (name: "scale" | "bias") =>
      device.tensor(Float32Array.from(c.slice(0, experts).flatMap((e) => [...e[name]])), [experts, n, k / group]);
    const stacked = packWeights([both], { bits: 4, scales: [scales("scale")], biases: [scales("bias")] });
    expect(await groupedGemm(x, stacked, offsets as never).toFloat32Array()).toEqual(await gemm.toFloat32Array());
  });

  test("refuses what is not a matrix of codes", () => {
    const codes = device.zeros([4, 32], "u8");
    const scale = device.zeros([4, 1]);
    const refused = (options: object, expected: object, w: Tensor = codes) =>
      expect(() => packWeight(w as never, options as never)).toThrowError(expect.objectContaining(expected));
    refused({}, { code: "INVALID_ARGUMENT", message: expect.stringMatching(/bits must be 2, 3, 4, 5, 6 or 8/) });
    refused({ bits: 7, scale }, { code: "INVALID_ARGUMENT" });
    refused(
      { bits: 4 },
      { code: "INVALID_ARGUMENT", message: expect.stringMatching(/scale must be 1 \(one for each/) },
    );
    refused({ bits: 4, scale: device.zeros([4, 3]) }, { code: "SHAPE_MISMATCH" });
    refused({ bits: 4, scale: device.zeros([3, 1]) }, { code: "SHAPE_MISMATCH" });
    refused({ bits: 4, scale, bias: device.zeros([4, 1], "bf16") }, { code: "DTYPE_MISMATCH" });
    refused({ bits: 4, scale: device.zeros([4, 1], "i32") }, { code: "DTYPE_MISMATCH" });
    refused({ bits: 4, scale: device.zeros([4]) }, { code: "SHAPE_MISMATCH" });
    refused({ bits: 3, scale }, { code: "SHAPE_MISMATCH" });
    refused({ bits: 4, scale }, { code: "INVALID_ARGUMENT" }, device.zeros([4, 64]));
    refused({ bias: scale }, { code: "INVALID_ARGUMENT" }, device.zeros([4, 64]));
    const w = (group: number) =>
      packWeight(device.zeros([4, 64], "u8"), { bits: 4, scale: device.zeros([4, 128 / group]) });
    expect(() => swiglu(device.zeros([1, 128]), w(64), w(32))).toThrowError(
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(/groups of 64/) }),
    );
  });
});

describe.each(allDevices)("f8e4m3 on $name", (device) => {
  test("all 254 values, rows of any magnitude, odd widths", async () => {
    const values = Uint8Array.from({ length: 256 }, (_, i) => ((i & 0x7f) === 0x7f ? 0 : i));
    const [n, k] = [16, 257];
    const stored = Uint8Array.from({ length: n * k }, (_, i) => values[(i * 7 + Math.floor(i / k)) % 256]!);
    const w = device.tensor(stored, [n, k], "f8e4m3");
    const exact = await w.toFloat32Array();
    const weight = packWeight(w, { scale: device.tensor([0.5, 2, 4], [1, 3]) });
    const scaled = Float64Array.from(exact, (v, i) => v * [0.5, 2, 4][Math.floor((i % k) / 128)]!);
    for (let i = 0; i < k; i += 3) {
      // a row that picks one column shows every weight exactly
      const row = new Float32Array(k);
      row[i] = 1;
      const y = await linear(device.tensor(row, [1, k]), weight).toFloat32Array();
      expect([...y]).toEqual(Array.from({ length: n }, (_, j) => scaled[j * k + i]! + 0));
    }
    for (const magnitude of [1e-30, 1e-12, 1, 1e12, 1e30]) {
      const x = randomArray(3 * k, 8, magnitude);
      const y = await linear(device.tensor(x, [3, k]), weight).toFloat32Array();
      expect(relativeError(y, product(x, scaled, 3, n, k)), `${magnitude}`).toBeLessThan(1e-6);
    }
    const special = new Float32Array(3 * k);
    special.set([Number.POSITIVE_INFINITY, 1], 0);
    special.set([Number.NaN, 1], k);
    special.set([3.4e38, 3.4e38], 2 * k);
    const y = await linear(
      device.tensor(special, [3, k]),
      packWeight(device.tensor(new Uint8Array(n * k).fill(0x38), [n, k], "f8e4m3"), {
        scale: device.tensor([1, 1, 1], [1, 3]),
      }),
    ).toFloat32Array();
    expect([y[0], y[n], y[2 * n]]).toEqual([Number.POSITIVE_INFINITY, Number.NaN, Number.POSITIVE_INFINITY]);
  });
});
