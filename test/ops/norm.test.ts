import { describe, expect, test } from "vitest";
import { rmsNorm } from "../../lib/ops/norm.js";
import { devices } from "../support/devices.js";
import { randomArray, relativeError } from "../support/numbers.js";

function referenceRmsNorm(x: Float32Array, w: Float32Array, eps: number): Float64Array {
  const n = w.length;
  return Float64Array.from(x, (v, i) => {
    const row = x.subarray(Math.floor(i / n) * n, Math.floor(i / n) * n + n);
    return (w[i % n]! * v) / Math.sqrt(row.reduce((s, e) => s + e * e, 0) / n + eps);
  });
}

describe.each(devices)("rmsNorm on $name", (device) => {
  test.each([
    [1, 1],
    [3, 16],
    [5, 37],
    [2, 6144],
  ])("[%i, %i] is the definition", async (rows, columns) => {
    const x = randomArray(rows * columns, 1);
    const w = randomArray(columns, 2);
    using y = rmsNorm(device.tensor(x, [rows, columns]), device.tensor(w, [columns]), { eps: 1e-5 });
    expect(relativeError(await y.toFloat32Array(), referenceRmsNorm(x, w, 1e-5))).toBeLessThan(1e-6);
  });

  test("bad input is refused before anything runs", () => {
    const x = device.zeros([2, 8]);
    expect(() => rmsNorm(x, device.zeros([7]))).toThrowError(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
    expect(() => rmsNorm(device.zeros([2, 8], "i32") as never, device.zeros([8]))).toThrowError(
      expect.objectContaining({ code: "DTYPE_MISMATCH" }),
    );
    x.dispose();
    expect(() => rmsNorm(x, device.zeros([8]))).toThrowError(expect.objectContaining({ code: "DISPOSED" }));
  });
});
