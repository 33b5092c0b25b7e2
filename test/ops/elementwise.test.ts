import { describe, expect, test } from "vitest";
import { activation, add, mul } from "../../lib/ops/elementwise.js";
import { allDevices } from "../support/devices.js";
import { code } from "../support/errors.js";
import { bf16, matrixShapes, randomArray, relativeError } from "../support/numbers.js";

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

  test("activation gelu at known values", async () => {
    // x·Φ(x) from tables of the normal distribution function
    const y = await activation(device.tensor([-3, -1, 0, 0.5, 2], [5]), "gelu").toFloat32Array();
    expect(relativeError(y, [-0.0040496941, -0.1586552539, 0, 0.3457312307, 1.9544997361])).toBeLessThan(1e-6);
  });

  test("no columns", async () => {
    expect((await add(device.zeros([3, 0]), device.zeros([0])).toFloat32Array()).length).toBe(0);
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
