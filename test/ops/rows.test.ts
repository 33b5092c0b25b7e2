import { describe, expect, test } from "vitest";
import { cast, concatRows, copyRows, gatherRows, maskRows, splitColumns, transpose } from "../../lib/ops/rows.js";
import { allDevices, cuda } from "../support/devices.js";
import { code } from "../support/errors.js";
import { randomArray, randomIds } from "../support/numbers.js";
import { expectSameAsCpu, expectSameErrors } from "../support/sameAsCpu.js";

describe.each(allDevices)("rows on $name", (device) => {
  test("gatherRows takes every dtype and any rank", async () => {
    const bytes = Uint8Array.from({ length: 60 }, (_, i) => i);
    const y = gatherRows(device.tensor(bytes, [5, 3, 4], "u8"), device.tensor([4, 4, 1], [3], "i32"));
    expect(y.shape).toEqual([3, 3, 4]);
    expect(await y.read()).toEqual(
      Uint8Array.from([48, 48, 12].flatMap((s) => Array.from({ length: 12 }, (_, i) => s + i))),
    );
    const z = gatherRows(device.tensor(randomIds(8, 100, 3), [8], "i32"), device.tensor([7, 0], [2], "i32"));
    const all = randomIds(8, 100, 3);
    expect(await z.read()).toEqual(Int32Array.of(all[7]!, all[0]!));
  });

  test("concatRows and splitColumns are inverse", async () => {
    const parts = [3, 0, 5].map((r, i) => device.tensor(randomArray(r * 21, 7 + i), [r, 21] as const));
    const whole = concatRows(parts);
    expect(whole.shape).toEqual([8, 21]);
    const values = await whole.toFloat32Array();
    expect(values).toEqual(
      Float32Array.from((await Promise.all(parts.map((p) => p.toFloat32Array()))).flatMap((a) => [...a])),
    );
    const pieces = splitColumns(whole, [1, 0, 16, 4]);
    expect(pieces.map((p) => p.shape)).toEqual([
      [8, 1],
      [8, 0],
      [8, 16],
      [8, 4],
    ]);
    const columns = await Promise.all(pieces.map((p) => p.toFloat32Array()));
    const rejoined = Array.from({ length: 8 }, (_, r) =>
      columns.flatMap((p, i) => [...p.subarray(r * pieces[i]!.shape[1]!, (r + 1) * pieces[i]!.shape[1]!)]),
    ).flat();
    expect(rejoined).toEqual([...values]);
  });

  test("concatRows and splitColumns refuse what does not fit", () => {
    const x = device.zeros([2, 6]);
    expect(() => concatRows([])).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => concatRows([x, device.zeros([2, 5])] as never)).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => concatRows([x, device.zeros([2, 6], "bf16")] as never)).toThrowError(code("DTYPE_MISMATCH"));
    expect(() => splitColumns(x, [2, 3])).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => splitColumns(x, [2, 5])).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => splitColumns(x, [7, -1])).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => splitColumns(x, [2.5, 3.5])).toThrowError(code("INVALID_ARGUMENT"));
  });

  test.each(["f32", "f16", "bf16", "f8e4m3", "i32", "u8"] as const)("transpose of %s", async (dtype) => {
    for (const [rows, columns] of [
      [1, 1],
      [3, 70],
      [64, 32],
      [33, 95],
      [0, 5],
      [7, 0],
    ] as const) {
      const integers = dtype === "i32" || dtype === "u8";
      const values = Array.from({ length: rows * columns }, (_, i) => (integers ? i % 256 : (i % 32) - 16));
      const y = transpose(device.tensor(values, [rows, columns], dtype));
      expect([y.dtype, y.shape]).toEqual([dtype, [columns, rows]]);
      const expected = Array.from(
        { length: rows * columns },
        (_, i) => values[(i % rows) * columns + Math.floor(i / rows)],
      );
      const read = integers ? await y.read() : await y.toFloat32Array();
      expect(Array.from(read as ArrayLike<number>)).toEqual(expected);
    }
  });

  test("transpose takes a view, and only matrices", async () => {
    const x = device.tensor(randomArray(9 * 5, 31), [9, 5]);
    const y = await transpose(x.slice(1, 8)).toFloat32Array();
    const all = await x.toFloat32Array();
    expect(Array.from(y)).toEqual(Array.from({ length: 35 }, (_, i) => all[(1 + (i % 7)) * 5 + Math.floor(i / 7)]));
    expect(() => transpose(device.zeros([6]) as never)).toThrowError(code("SHAPE_MISMATCH"));
  });

  test("large concatRows on several threads", async () => {
    const a = randomArray(300 * 1024, 10);
    const b = randomArray(77 * 1024, 11);
    const y = await concatRows([device.tensor(a, [300, 1024]), device.tensor(b, [77, 1024])]).toFloat32Array();
    expect(Buffer.compare(Buffer.from(y.buffer), Buffer.concat([Buffer.from(a.buffer), Buffer.from(b.buffer)]))).toBe(
      0,
    );
  });

  test("cast to every dtype and back", async () => {
    const x = randomArray(1000, 12, 600);
    x.set([0, -0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, 1e-40, 65519, -65520, 448, 500], 0);
    const t = device.tensor(x, [1000]);
    for (const dtype of ["f32", "f16", "bf16", "f8e4m3"] as const) {
      const y = cast(t, dtype);
      expect(y.dtype).toBe(dtype);
      const scalar = device.tensor(x, [1000], dtype);
      expect(await y.toFloat32Array()).toEqual(await scalar.toFloat32Array());
      if (device.backend === "cpu") expect(await y.read()).toEqual(await scalar.read()); // a GPU's NaN has other bits
      expect(await cast(y, "f32").toFloat32Array()).toEqual(await y.toFloat32Array());
    }
    const ints = device.tensor([-5, 0, 16777217], [3], "i32");
    expect(Array.from(await cast(ints, "f32").read())).toEqual([-5, 0, 16777216]);
    expect(Array.from(await cast(device.tensor([0, 7, 255], [3], "u8"), "bf16").toFloat32Array())).toEqual([0, 7, 255]);
    expect(() => cast(t, "i32" as never)).toThrowError(code("DTYPE_MISMATCH"));
  });

  test("copyRows writes in place, in order with other operations", async () => {
    const dst = device.zeros([6, 3]);
    const src = device.tensor([1, 2, 3, 4, 5, 6], [2, 3]);
    const before = gatherRows(dst, device.tensor([1], [1], "i32"));
    copyRows(dst, src, 1);
    copyRows(dst.slice(4, 6), src);
    expect(Array.from(await before.toFloat32Array())).toEqual([0, 0, 0]);
    expect(Array.from(await dst.toFloat32Array())).toEqual([0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 1, 2, 3, 4, 5, 6]);
    copyRows(dst, dst.slice(1, 6)); // overlapping
    expect(Array.from(await dst.toFloat32Array())).toEqual([1, 2, 3, 4, 5, 6, 0, 0, 0, 1, 2, 3, 4, 5, 6, 4, 5, 6]);
    expect(() => copyRows(dst, src, 5)).toThrowError(code("INDEX_OUT_OF_RANGE"));
    expect(() => copyRows(dst, src, -1)).toThrowError(code("INDEX_OUT_OF_RANGE"));
    // @ts-expect-error rows have 3 columns
    expect(() => copyRows(dst, device.zeros([1, 4]))).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => copyRows(dst, device.zeros([1, 3], "bf16") as never)).toThrowError(code("DTYPE_MISMATCH"));
  });

  test("maskRows zeroes the padding of a batch", async () => {
    const x = randomArray(3 * 4 * 5, 13);
    const want = x.map((v, i) => (Math.floor(i / 5) % 4 < [4, 0, 3][Math.floor(i / 20)]! ? v : 0));
    expect(await maskRows(device.tensor(x, [3, 4, 5]), [4, 0, 3]).toFloat32Array()).toEqual(want);
    expect(await maskRows(device.tensor(x, [12, 5]), [4, 0, 3]).toFloat32Array()).toEqual(want);
    expect(() => maskRows(device.zeros([12, 5]), [5, 0, 3])).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => maskRows(device.zeros([11, 5]), [1, 0, 3])).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => maskRows(device.zeros([12, 5]), [])).toThrowError(code("INVALID_ARGUMENT"));
  });
});

describe.runIf(cuda)("rows on CUDA alone, compared with the CPU", () => {
  const dtypes = ["f32", "f16", "bf16", "f8e4m3"] as const;

  test.each(dtypes)("every pattern of 16 bits to %s, directly and through 8 bits", async (to) => {
    const patterns = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const widened = new Float32Array(Uint32Array.from(patterns, (bits) => (bits << 16) | (bits & 0xff)).buffer);
    await expectSameAsCpu((device) => cast(device.tensor(widened, [65536]), to));
    await expectSameAsCpu((device) => cast(cast(device.tensor(widened, [65536]), "f16"), to));
    await expectSameAsCpu((device) => cast(cast(device.tensor(widened, [65536]), "f8e4m3"), to));
  });

  test.each([1, 3, 8, 16, 37, 2050, 4096])("views at odd addresses, rows of %i", async (c) => {
    const x = randomArray(11 * c, 20);
    const ids = randomIds(9, 10, 21);
    for (const dtype of dtypes)
      await expectSameAsCpu((device) => {
        const view = device.tensor(x, [11, c], dtype).slice(1, 11);
        const rows = device.tensor([0, ...ids], [10], "i32").slice(1, 10);
        const pieces = [c - Math.floor(c / 3), Math.floor(c / 3)];
        return [
          gatherRows(view, rows),
          cast(view, "f32"),
          concatRows([view, device.tensor(x, [11, c], dtype)]),
          maskRows(view, [2, 0, 1, 2, 1]),
          ...splitColumns(view, pieces),
        ];
      });
  });

  test("more sequences than one launch masks", async () => {
    const lengths = Array.from({ length: 300 }, (_, i) => i % 3);
    await expectSameAsCpu((device) => maskRows(device.tensor(randomArray(600 * 5, 22), [600, 5]), lengths));
  });

  test("the errors are the CPU's", async () => {
    await expectSameErrors((device) => [gatherRows(device.zeros([4, 8]), device.tensor([1, 2, 4, 0], [4], "i32"))]);
  });
});
