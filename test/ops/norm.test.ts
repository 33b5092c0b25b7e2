import { describe, expect, test } from "vitest";
import { addRmsNorm, layerNorm, rmsNorm } from "../../lib/ops/norm.js";
import { allDevices } from "../support/devices.js";
import { code } from "../support/errors.js";
import { bf16, matrixShapes, randomArray, relativeError } from "../support/numbers.js";

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

describe.each(allDevices)("norms on $name", (device) => {
  test.each(matrixShapes)("rmsNorm [%i, %i] is the definition", async (r, c) => {
    const x = randomArray(r * c, 1);
    const w = randomArray(c, 2);
    using y = rmsNorm(device.tensor(x, [r, c]), device.tensor(w, [c]), { eps: 1e-5 });
    expect(relativeError(await y.toFloat32Array(), referenceRmsNorm(x, w, 1e-5))).toBeLessThan(1e-6);
  });

  test.each(matrixShapes)("addRmsNorm [%i, %i] also gives the next residual", async (r, c) => {
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

  test.each(matrixShapes)("layerNorm [%i, %i] is the definition", async (r, c) => {
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

  test("no rows", async () => {
    expect((await layerNorm(device.zeros([0, 8]), device.zeros([8])).toFloat32Array()).length).toBe(0);
  });

  test("bad input is refused before anything runs", () => {
    const x = device.zeros([2, 8]);
    const w = device.zeros([8]);
    const loose = (shape: number[]) => device.zeros(shape); // a shape that the compiler does not know
    const i32 = device.zeros([2, 8], "i32") as never;
    expect(() => rmsNorm(x, loose([7]))).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => rmsNorm(i32, w)).toThrowError(code("DTYPE_MISMATCH"));
    expect(() => rmsNorm(x, w, { eps: 0 })).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => addRmsNorm(x, loose([2, 7]), w)).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => addRmsNorm(x, device.zeros([2, 8], "bf16") as never, w)).toThrowError(code("DTYPE_MISMATCH"));
    expect(() => layerNorm(x, loose([2, 8]))).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => layerNorm(x, w, device.zeros([8], "bf16"))).toThrowError(code("DTYPE_MISMATCH"));
    expect(() => layerNorm(i32, w)).toThrowError(code("DTYPE_MISMATCH"));
  });

  test("a misspelt option is named", () => {
    const [x, w] = [device.zeros([2, 8]), device.zeros([8])];
    const misspelt = { epsilon: 1e-5 } as never;
    for (const norm of [
      () => rmsNorm(x, w, misspelt),
      () => addRmsNorm(x, x, w, misspelt),
      () => layerNorm(x, w, w, misspelt),
    ])
      expect(norm).toThrowError(/has no option "epsilon": did you mean "eps"/);
  });
});
