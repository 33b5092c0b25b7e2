import { describe, expect, test } from "vitest";
import { activation, add, type ClampOptions, clamp, magnitude, mul } from "../../lib/ops/elementwise.js";
import { linear } from "../../lib/ops/linear.js";
import { allDevices } from "../support/devices.js";
import { code } from "../support/errors.js";
import { bf16, matrixShapes, randomArray, relativeError, uniform } from "../support/numbers.js";

describe.each(allDevices)("elementwise operations on $name", (device) => {
  test.each(matrixShapes)("add and mul [%i, %i], same shape and broadcast", async (r, c) => {
    const a = randomArray(r * c, 12);
    const b = randomArray(r * c, 13);
    const v = randomArray(c, 14).map(bf16);
    const at = device.tensor(a, [r, c]);
    const bt = device.tensor(b, [r, c]);
    const vt = device.tensor(v, [c], "bf16");
    expect(await add(at, bt).toFloat32Array()).toEqual(a.map((x, i) => x + b[i]!));
    expect(await mul(at, bt).toFloat32Array()).toEqual(a.map((x, i) => x * b[i]!));
    expect(await add(at, vt).toFloat32Array()).toEqual(a.map((x, i) => x + v[i % c]!));
    expect(await mul(at, vt).toFloat32Array()).toEqual(a.map((x, i) => x * v[i % c]!));
  });

  const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
  test.each([
    ["none", (x: number) => x],
    ["relu", (x: number) => Math.max(x, 0)],
    ["relu6", (x: number) => Math.min(Math.max(x, 0), 6)],
    ["silu", (x: number) => x * sigmoid(x)],
    ["sigmoid", sigmoid],
    ["tanh", Math.tanh],
  ] as const)("activation %s", async (kind, reference) => {
    const x = randomArray(1003, 15, 9);
    const y = await activation(device.tensor(x, [17, 59]), kind).toFloat32Array();
    expect(relativeError(y, Float64Array.from(x, reference))).toBeLessThan(1e-6);
    const narrow = x.map(bf16);
    const z = await activation(device.tensor(narrow, [1003], "bf16"), kind).toFloat32Array();
    expect(relativeError(z, Float64Array.from(narrow, reference))).toBeLessThan(4e-3);
  });

  test.each([
    ["none", [Number.NaN, Infinity, -Infinity, 0, 0, 7]],
    ["relu", [Number.NaN, Infinity, 0, 0, 0, 7]],
    ["relu6", [Number.NaN, 6, 0, 0, 0, 6]],
    ["sigmoid", [Number.NaN, 1, 0, 0.5, 0.5, sigmoid(7)]],
    ["tanh", [Number.NaN, 1, -1, 0, 0, Math.tanh(7)]],
  ] as const)("%s of NaN, infinities and zeros, alone and in linear", async (kind, values) => {
    const x = device.tensor([Number.NaN, Infinity, -Infinity, -0, 0, 7], [6, 1]);
    const one = device.tensor([1], [1, 1]);
    const expected = values.map((v) => (Number.isFinite(v) ? expect.closeTo(v, 6) : v));
    expect([...(await activation(x, kind).toFloat32Array())]).toEqual(expected);
    expect([...(await linear(x, one, { activation: kind }).toFloat32Array())]).toEqual(expected);
  });

  test("activation gelu at known values", async () => {
    // x·Φ(x) from tables of the normal distribution function
    const y = await activation(device.tensor([-3, -1, 0, 0.5, 2], [5]), "gelu").toFloat32Array();
    expect(relativeError(y, [-0.0040496941, -0.1586552539, 0, 0.3457312307, 1.9544997361])).toBeLessThan(1e-6);
  });

  test.each([
    [1, 1],
    [4, 129],
    [3, 16],
    [2, 70],
    [700, 3],
  ])("magnitude [%i, 2 × %i]", async (rows, columns) => {
    const x = randomArray(rows * 2 * columns, 16, 5);
    const reference = (from: Float32Array) =>
      Float64Array.from({ length: rows * columns }, (_, i) => {
        const real = i + Math.floor(i / columns) * columns;
        return Math.hypot(from[real]!, from[real + columns]!);
      });
    const y = magnitude(device.tensor(x, [rows, 2 * columns]));
    expect(y.shape).toEqual([rows, columns]);
    expect(relativeError(await y.toFloat32Array(), reference(x))).toBeLessThan(1e-7);
    const z = await magnitude(device.tensor(x, [rows, 2 * columns], "bf16")).toFloat32Array();
    expect(relativeError(z, reference(x.map(bf16)))).toBeLessThan(4e-3);
  });

  test("magnitude of zeros, infinities and NaN, and of an odd number of columns", async () => {
    const x = device.tensor([0, 3, -Infinity, Number.NaN, 0, -4, 1, 1], [1, 8]);
    expect([...(await magnitude(x).toFloat32Array())]).toEqual([0, 5, Infinity, Number.NaN]);
    expect(() => magnitude(device.zeros([2, 3]))).toThrow(code("SHAPE_MISMATCH"));
    expect(() => magnitude(device.zeros([4], "i32") as never)).toThrow(code("DTYPE_MISMATCH"));
  });

  const clamped = (low: number, high: number) => (x: number) => (x < low ? low : Math.min(x, high)); // NaN stays NaN
  const third = Math.fround(1 / 3);

  test.each<[number[], ClampOptions]>([
    [[], { low: -0.5, high: 0.25 }],
    [[1], { low: 0, high: 0 }],
    [[3, 5, 7], { low: -1 / 3, high: 1 / 3 }],
    [[8, 6144], { high: -0.5 }],
    [[2, 3, 4, 5, 6, 8], { low: 0 }],
    [[1000], {}],
  ])("clamp %j with %o", async (shape, options) => {
    const [low, high] = [Math.fround(options.low ?? -Infinity), Math.fround(options.high ?? Infinity)];
    const n = shape.reduce((product, d) => product * d, 1);
    const x = randomArray(n, n);
    x.set([Number.NaN, Infinity, -Infinity, -0, 1e-45, third, -third].slice(0, n));
    const y = clamp(device.tensor(x, shape), options);
    expect(y.shape).toEqual(shape);
    expect(await y.toFloat32Array()).toEqual(x.map(clamped(low, high)));
    const z = await clamp(device.tensor(x, shape, "bf16"), options).toFloat32Array();
    expect(z).toEqual(x.map(bf16).map(clamped(low, high)).map(bf16));
  });

  test("clamp of random sizes, from rows that are not aligned to 16 bytes", async () => {
    const next = uniform(16);
    for (let round = 0; round < 8; round++) {
      const [rows, columns] = [1 + Math.floor(20 + 20 * next()), 1 + Math.floor(40 + 40 * next())];
      const [low, high] = [next(), next()].sort((a, b) => a - b).map(Math.fround) as [number, number];
      const x = randomArray((rows + 1) * columns, round);
      const [whole, rest] = [device.tensor(x, [rows + 1, columns], "bf16"), x.subarray(columns).map(bf16)];
      const y = await clamp(whole.slice(1), { low, high }).toFloat32Array();
      expect(y, `[${rows}, ${columns}]`).toEqual(rest.map(clamped(low, high)).map(bf16));
    }
  });

  test("clamp refuses crossed bounds, NaN bounds and options that it does not have", () => {
    const x = device.zeros([4]);
    const refused = (options: object, message: RegExp) =>
      expect(() => clamp(x, options)).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) }),
      );
    refused({ low: 2, high: 1 }, /^clamp: low must not be above high, got low 2.0+ and high 1.0+$/);
    refused({ low: Number.NaN }, /low must not be above high/);
    refused({ high: Number.NaN }, /low must not be above high/);
    refused({ low: "0" }, /low must be a number/);
    refused({ hihg: 1 }, /ops\.clamp has no option "hihg": did you mean "high"/);
    refused({ x }, /ops\.clamp has no option "x"/);
    expect(() => clamp(device.zeros([4], "i32") as never)).toThrow(code("DTYPE_MISMATCH"));
  });

  test("no columns", async () => {
    expect((await add(device.zeros([3, 0]), device.zeros([0])).toFloat32Array()).length).toBe(0);
    expect((await clamp(device.zeros([3, 0]), { low: 1 }).toFloat32Array()).length).toBe(0);
  });

  test("bad input is refused before anything runs", () => {
    const x = device.zeros([2, 8]);
    const loose = (shape: number[]) => device.zeros(shape); // a shape that the compiler does not know
    expect(() => add(x, loose([2, 1]))).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => mul(x, device.zeros([2, 8], "i32") as never)).toThrowError(code("DTYPE_MISMATCH"));
    expect(() => activation(x, "swish" as never)).toThrowError(code("INVALID_ARGUMENT"));
    x.dispose();
    expect(() => add(x, device.zeros([8]))).toThrowError(code("DISPOSED"));
  });
});
