import { describe, expect, test } from "vitest";
import { activation, add, addRmsNorm, layerNorm, mul, rmsNorm } from "../../lib/ops/norm.js";
import { allDevices } from "../support/devices.js";
import { bf16, randomArray, relativeError } from "../support/numbers.js";

type Numbers = Float32Array | Float64Array;

function rows(x: Numbers, columns: number): Numbers[] {
  return Array.from({ length: x.length / columns }, (_, r) => x.subarray(r * columns, (r + 1) * columns));
}

const mean = (x: Numbers) => Array.from(x).reduce((s, v) => s + v, 0) / x.length;

function referenceRmsNorm(x: Numbers, w: Numbers, eps: number): Float64Array {
  return Float64Array.from(
    rows(x, w.length).flatMap((row) => {
      const scale = 1 / Math.sqrt(mean(row.map((v) => v * v)) + eps);
      return Array.from(row, (v, i) => w[i]! * v * scale);
    }),
  );
}

function referenceLayerNorm(x: Numbers, w: Numbers, b: Numbers | undefined, eps: number): Float64Array {
  return Float64Array.from(
    rows(x, w.length).flatMap((row) => {
      const m = mean(row);
      const wide = Float64Array.from(row, (v) => v - m);
      const scale = 1 / Math.sqrt(mean(wide.map((v) => v * v)) + eps);
      return Array.from(wide, (v, i) => w[i]! * v * scale + (b ? b[i]! : 0));
    }),
  );
}

const shapes = [
  [1, 1],
  [3, 16],
  [5, 37],
  [7, 160],
  [2, 6144],
] as const;

describe.each(allDevices)("norms on $name", (device) => {
  const error = (code: string) => expect.objectContaining({ code });

  test.each(shapes)("rmsNorm [%i, %i] is the definition", async (r, c) => {
    const x = randomArray(r * c, 1);
    const w = randomArray(c, 2);
    using y = rmsNorm(device.tensor(x, [r, c]), device.tensor(w, [c]), { eps: 1e-5 });
    expect(relativeError(await y.toFloat32Array(), referenceRmsNorm(x, w, 1e-5))).toBeLessThan(1e-6);
  });

  test.each(shapes)("addRmsNorm [%i, %i] also gives the next residual", async (r, c) => {
    const x = randomArray(r * c, 1);
    const residual = randomArray(r * c, 3, 4);
    const w = randomArray(c, 2);
    const sum = x.map((v, i) => v + residual[i]!);
    const shape = [r, c] as const;
    const out = addRmsNorm(device.tensor(x, shape), device.tensor(residual, shape), device.tensor(w, [c]));
    expect(await out.residual.toFloat32Array()).toEqual(sum);
    expect(relativeError(await out.y.toFloat32Array(), referenceRmsNorm(sum, w, 1e-6))).toBeLessThan(1e-6);
  });

  test("addRmsNorm rounds to bf16 where the published code does", async () => {
    const c = 40;
    const x = randomArray(3 * c, 1).map(bf16);
    const residual = randomArray(3 * c, 2).map(bf16);
    const w = randomArray(c, 3).map(bf16);
    const out = addRmsNorm(
      device.tensor(x, [3, c], "bf16"),
      device.tensor(residual, [3, c], "bf16"),
      device.tensor(w, [c], "bf16"),
    );
    const sum = x.map((v, i) => bf16(v + residual[i]!));
    expect(await out.residual.toFloat32Array()).toEqual(sum);
    const normed = referenceRmsNorm(sum, new Float32Array(c).fill(1), 1e-6);
    const want = normed.map((v, i) => bf16(bf16(v) * w[i % c]!));
    expect(relativeError(await out.y.toFloat32Array(), want)).toBeLessThan(1e-3); // one step apart at a rounding tie
  });

  test.each(shapes)("layerNorm [%i, %i] is the definition", async (r, c) => {
    const x = randomArray(r * c, 4);
    const w = randomArray(c, 5);
    const b = randomArray(c, 6);
    const xt = device.tensor(x, [r, c]);
    const wt = device.tensor(w, [c]);
    const plain = await layerNorm(xt, wt).toFloat32Array();
    const biased = await layerNorm(xt, wt, device.tensor(b, [c]), { eps: 1e-3 }).toFloat32Array();
    expect(relativeError(plain, referenceLayerNorm(x, w, undefined, 1e-5))).toBeLessThan(c === 1 ? 1e-9 : 2e-6);
    expect(relativeError(biased, referenceLayerNorm(x, w, b, 1e-3))).toBeLessThan(2e-6);
  });

  test("layerNorm keeps its digits when the mean is large", async () => {
    const c = 99;
    const x = randomArray(2 * c, 7).map((v) => 4096 + v);
    const w = new Float32Array(c).fill(1);
    const y = await layerNorm(device.tensor(x, [2, c]), device.tensor(w, [c])).toFloat32Array();
    expect(relativeError(y, referenceLayerNorm(x, w, undefined, 1e-5))).toBeLessThan(1e-3); // the mean's own rounding
  });

  test("layerNorm takes bf16 activations and weights", async () => {
    const x = randomArray(3 * 50, 8).map(bf16);
    const w = randomArray(50, 9).map(bf16);
    const b = randomArray(50, 10).map(bf16);
    const y = layerNorm(
      device.tensor(x, [3, 50], "bf16"),
      device.tensor(w, [50], "bf16"),
      device.tensor(b, [50], "bf16"),
    );
    expect(y.dtype).toBe("bf16");
    expect(relativeError(await y.toFloat32Array(), referenceLayerNorm(x, w, b, 1e-5).map(bf16))).toBeLessThan(1e-3);
  });

  test("a NaN stays in its row", async () => {
    const x = randomArray(3 * 20, 11);
    x[25] = Number.NaN;
    const xt = device.tensor(x, [3, 20]);
    const one = device.tensor(new Float32Array(20).fill(1), [20]);
    for (const y of [rmsNorm(xt, one), layerNorm(xt, one)]) {
      const bad = rows(await y.toFloat32Array(), 20).map((row) => row.filter(Number.isNaN).length);
      expect(bad).toEqual([0, 20, 0]);
    }
  });

  test.each(shapes)("add and mul [%i, %i], same shape and broadcast", async (r, c) => {
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

  test("activation gelu at known values", async () => {
    // x·Φ(x) from tables of the normal distribution function
    const y = await activation(device.tensor([-3, -1, 0, 0.5, 2], [5]), "gelu").toFloat32Array();
    expect(relativeError(y, [-0.0040496941, -0.1586552539, 0, 0.3457312307, 1.9544997361])).toBeLessThan(1e-6);
  });

  test("no rows and no columns", async () => {
    const w = device.zeros([8]);
    expect((await layerNorm(device.zeros([0, 8]), w).toFloat32Array()).length).toBe(0);
    expect((await add(device.zeros([3, 0]), device.zeros([0])).toFloat32Array()).length).toBe(0);
  });

  test("bad input is refused before anything runs", () => {
    const x = device.zeros([2, 8]);
    const w = device.zeros([8]);
    const loose = (shape: number[]) => device.zeros(shape); // of a shape that the compiler does not know
    const i32 = device.zeros([2, 8], "i32") as never;
    expect(() => rmsNorm(x, loose([7]))).toThrowError(error("SHAPE_MISMATCH"));
    expect(() => rmsNorm(i32, w)).toThrowError(error("DTYPE_MISMATCH"));
    expect(() => rmsNorm(x, w, { eps: 0 })).toThrowError(error("INVALID_ARGUMENT"));
    expect(() => addRmsNorm(x, loose([2, 7]), w)).toThrowError(error("SHAPE_MISMATCH"));
    expect(() => addRmsNorm(x, device.zeros([2, 8], "bf16") as never, w)).toThrowError(error("DTYPE_MISMATCH"));
    expect(() => layerNorm(x, loose([2, 8]))).toThrowError(error("SHAPE_MISMATCH"));
    expect(() => layerNorm(x, w, device.zeros([8], "bf16"))).toThrowError(error("DTYPE_MISMATCH"));
    expect(() => layerNorm(i32, w)).toThrowError(error("DTYPE_MISMATCH"));
    expect(() => add(x, loose([2, 1]))).toThrowError(error("SHAPE_MISMATCH"));
    expect(() => mul(x, i32)).toThrowError(error("DTYPE_MISMATCH"));
    expect(() => activation(x, "swish" as never)).toThrowError(error("INVALID_ARGUMENT"));
    x.dispose();
    expect(() => add(x, w)).toThrowError(error("DISPOSED"));
  });
});
