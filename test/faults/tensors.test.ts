import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { add, concatRows, copyRows, embedding, layerNorm, mul, rmsNorm } from "../../lib/ops/index.js";
import { Device } from "../../lib/tensor/tensor.js";

const error = (code: string) => expect.objectContaining({ name: "CaracalError", code });
const device = await Device.open({ threads: 2 });

/** A result whose computation fails when it runs, because of an id outside the table. */
const faulty = (shape: readonly [number, number] = [1, 4]) =>
  embedding(device.zeros([2, shape[1]]), device.tensor(new Int32Array(shape[0]).fill(5), [shape[0]], "i32"));

describe("disposed tensors", () => {
  test("cannot be read, viewed or used", async () => {
    const x = device.tensor([1, 2, 3, 4], [2, 2]);
    x.dispose();
    x.dispose();
    expect(x.disposed).toBe(true);
    await expect(x.toFloat32Array()).rejects.toThrowError(error("DISPOSED"));
    await expect(x.read()).rejects.toThrowError(error("DISPOSED"));
    expect(() => x.reshape([4])).toThrowError(error("DISPOSED"));
    expect(() => x.slice(0, 1)).toThrowError(error("DISPOSED"));
    expect(() => add(x, device.zeros([2, 2]))).toThrowError(error("DISPOSED"));
    expect(() => concatRows([device.zeros([2, 2]), x])).toThrowError(error("DISPOSED"));
  });

  test("keep their memory for queued operations and views", async () => {
    const x = device.tensor([1, 2, 3, 4], [2, 2]);
    const row = x.slice(1, 2);
    const sum = add(x, x);
    const pending = x.toFloat32Array();
    x.dispose();
    expect(Array.from(await sum.toFloat32Array())).toEqual([2, 4, 6, 8]);
    expect(Array.from(await pending)).toEqual([1, 2, 3, 4]);
    expect(Array.from(await row.toFloat32Array())).toEqual([3, 4]);
  });

  test("are disposed by `using` at the end of the block", () => {
    let escaped: { disposed: boolean };
    {
      using x = device.zeros([3]);
      escaped = x;
      expect(x.disposed).toBe(false);
    }
    expect(escaped.disposed).toBe(true);
  });
});

describe("device.scope", () => {
  test("disposes the tensors that the function creates, except those in its result", async () => {
    const outside = device.zeros([2]);
    const created: { disposed: boolean }[] = [];
    const result = device.scope(() => {
      const a = device.tensor([1, 2], [2]);
      const b = add(a, a);
      created.push(a, b, b.reshape([1, 2]));
      return { list: [add(b, a)], same: b, outside };
    });
    expect(created.map((t) => t.disposed)).toEqual([true, false, true]);
    expect(outside.disposed).toBe(false);
    expect(Array.from(await result.list[0]!.toFloat32Array())).toEqual([3, 6]);
  });

  test("can be nested: the result of the inner scope belongs to the outer one", () => {
    let inner: { disposed: boolean } | undefined;
    device.scope(() => {
      inner = device.scope(() => device.zeros([2]));
      expect(inner.disposed).toBe(false);
    });
    expect(inner!.disposed).toBe(true);
  });

  test("disposes everything when the function throws", () => {
    let created: { disposed: boolean } | undefined;
    expect(() =>
      device.scope(() => {
        created = device.zeros([2]);
        throw new RangeError("stop");
      }),
    ).toThrowError(RangeError);
    expect(created!.disposed).toBe(true);
    const after = device.zeros([1]);
    expect(after.disposed).toBe(false);
  });

  test("accepts a result that refers to itself", () => {
    interface Node {
      tensor: { disposed: boolean };
      next?: Node;
    }
    const ring = device.scope(() => {
      const node: Node = { tensor: device.zeros([1]) };
      node.next = node;
      return node;
    });
    expect(ring.tensor.disposed).toBe(false);
  });

  test("refuses an asynchronous function", () => {
    expect(() => device.scope(async () => device.zeros([1]))).toThrowError(error("INVALID_ARGUMENT"));
  });
});

describe("wrong arguments", () => {
  test("an operation cannot combine tensors of two devices", async () => {
    await using other = await Device.open({ threads: 1 });
    const x = device.zeros([2, 2]);
    expect(() => add(x, other.zeros([2, 2]))).toThrowError(error("DEVICE_MISMATCH"));
    expect(() => copyRows(x, other.zeros([1, 2]))).toThrowError(error("DEVICE_MISMATCH"));
    expect(() => concatRows([x, other.zeros([1, 2])] as never)).toThrowError(error("DEVICE_MISMATCH"));
  });

  test("values that do not fit the shape or the dtype", () => {
    // @ts-expect-error 3 values, 4 elements
    expect(() => device.tensor([1, 2, 3], [2, 2])).toThrowError(error("SHAPE_MISMATCH"));
    expect(() => device.tensor(new Float32Array(4), [2, 2], "i32")).toThrowError(error("DTYPE_MISMATCH"));
    expect(() => device.tensor(new Int32Array(4), [4], "f32")).toThrowError(error("DTYPE_MISMATCH"));
    expect(() => device.tensor(new Uint8Array(4), [4], "bf16")).toThrowError(error("DTYPE_MISMATCH"));
    expect(() => device.tensor(new Uint16Array(4), [4], "f32")).toThrowError(error("DTYPE_MISMATCH"));
    expect(() => device.tensor(new BigInt64Array(4) as never, [4])).toThrowError(error("DTYPE_MISMATCH"));
    expect(() => device.tensor(new DataView(new ArrayBuffer(4)) as never, [1])).toThrowError(error("INVALID_ARGUMENT"));
    expect(() => device.zeros([1], "f64" as never)).toThrowError(error("INVALID_ARGUMENT"));
  });

  test("invalid shapes", () => {
    for (const shape of [[-1], [2, -3], [1, 1, 1, 1, 1, 1, 1]])
      expect(() => device.zeros(shape)).toThrowError(error("SHAPE_MISMATCH"));
    for (const shape of [[1.5], [Number.NaN], ["2"], 7])
      expect(() => device.zeros(shape as never)).toThrowError(error("INVALID_ARGUMENT"));
  });

  test("views outside the tensor", () => {
    const x = device.zeros([3, 4]);
    // @ts-expect-error 12 elements
    expect(() => x.reshape([13])).toThrowError(error("SHAPE_MISMATCH"));
    for (const [start, end] of [
      [2, 4],
      [-1, 2],
      [2, 1],
    ] as const)
      expect(() => x.slice(start, end)).toThrowError(error("SHAPE_MISMATCH"));
    expect(() => x.slice(Number.NaN, 1)).toThrowError(error("INVALID_ARGUMENT"));
    expect(x.slice(3, 3).shape).toEqual([0, 4]);
  });

  test("values that are not tensors", () => {
    const x = device.zeros([2, 2]);
    for (const value of [undefined, null, 3, "x", {}, []])
      expect(() => add(x, value as never)).toThrowError(error("INVALID_ARGUMENT"));
    expect(() => concatRows([x, 1] as never)).toThrowError(error("INVALID_ARGUMENT"));
    expect(() => concatRows(x as never)).toThrowError(error("INVALID_ARGUMENT"));
  });

  test("files that cannot be mapped", () => {
    const folder = mkdtempSync(join(tmpdir(), "caracal-map-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const [empty, four, missing] = ["empty", "four", "missing"].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(empty, "");
    writeFileSync(four, "four");
    const failure = (path: string, reason: string) =>
      expect.objectContaining({
        code: "IO_ERROR",
        message: expect.stringContaining(`${path}: ${reason}`),
        details: { path },
      });
    expect(() => device.mapFile(empty)).toThrowError(failure(empty, "the file is empty"));
    expect(() => device.mapFile(missing)).toThrowError(failure(missing, "No such file"));
    expect(() => device.mapFile(folder)).toThrowError(failure(folder, "Is a directory"));
    const file = device.mapFile(four);
    for (const [offset, elements] of [
      [0, 5],
      [3, 2],
      [-1, 1],
    ] as const)
      expect(() => device.mapped(file, offset, [elements], "u8")).toThrowError(
        expect.objectContaining({
          code: "IO_ERROR",
          message: expect.stringContaining(four),
          details: { path: four, offset, bytes: elements, capacity: 4 },
        }),
      );
    expect(device.mapped(file, 1, [3], "u8").shape).toEqual([3]);
  });

  test("options of devices that do not exist", async () => {
    await expect(Device.open({ backend: "tpu" as never })).rejects.toThrowError(error("INVALID_ARGUMENT"));
    await expect(Device.open({ isa: "sse9" as never })).rejects.toThrowError(error("INVALID_ARGUMENT"));
    for (const threads of [0, -1, 1.5, 1e9, "2"])
      await expect(Device.open({ threads: threads as never })).rejects.toThrowError(error("INVALID_ARGUMENT"));
  });
});

describe("too much memory", () => {
  test("is refused before memory is allocated", () => {
    const before = device.memory.inUse;
    expect(() => device.zeros([2 ** 40, 2 ** 9])).toThrowError(error("OUT_OF_MEMORY"));
    expect(() => device.zeros([2 ** 26, 2 ** 26])).toThrowError(error("SHAPE_MISMATCH"));
    expect(() => device.zeros([2 ** 50, 2 ** 50, 2 ** 50])).toThrowError(error("SHAPE_MISMATCH"));
    expect(() => device.zeros([0, 2 ** 50, 2 ** 50])).toThrowError(error("SHAPE_MISMATCH"));
    expect(device.memory.inUse).toBe(before);
  });

  test("is refused for the output of an operation", () => {
    const ids = device.zeros([2 ** 20], "i32");
    const wide = device.zeros([0, 2 ** 28]); // no rows, so no bytes
    expect(() => embedding(wide, device.zeros([2 ** 22], "i32"))).toThrowError(error("SHAPE_MISMATCH"));
    expect(() => embedding(wide, ids)).toThrowError(error("OUT_OF_MEMORY"));
  });
});

describe("an operation that fails when it runs", () => {
  test("fails the reads of everything computed from its result, and of nothing else", async () => {
    const good = device.tensor([1, 2, 3, 4], [1, 4]);
    const bad = faulty();
    const one = device.tensor([1, 1, 1, 1], [4]);
    const dependents = [bad, add(bad, good), rmsNorm(mul(good, bad), one), concatRows([good, bad]), bad.reshape([4])];
    const independents = [add(good, good), layerNorm(good, one)];
    for (const t of dependents) {
      await expect(t.toFloat32Array()).rejects.toThrowError(error("INDEX_OUT_OF_RANGE"));
      await expect(t.read()).rejects.toThrowError(error("INDEX_OUT_OF_RANGE")); // again
    }
    for (const t of independents) expect((await t.toFloat32Array()).every(Number.isFinite)).toBe(true);
    await device.synchronize();
  });

  test("fails the reads of the tensor that it writes in place", async () => {
    const state = device.zeros([3, 4]);
    const other = device.zeros([3, 4]);
    copyRows(state, faulty());
    await expect(state.read()).rejects.toThrowError(error("INDEX_OUT_OF_RANGE"));
    expect((await other.read()).length).toBe(12);
  });
});

describe("a device that is disposed", () => {
  test("rejects pending reads and later calls with DISPOSED", async () => {
    const short = await Device.open({ threads: 1 });
    const x = short.zeros([512, 4096]);
    const w = short.tensor(new Float32Array(4096).fill(1), [4096]);
    let y = layerNorm(x, w);
    const reads: Promise<unknown>[] = [];
    for (let i = 0; i < 200; i++) {
      y = layerNorm(y, w);
      reads.push(y.read());
    }
    const waiting = short.synchronize();
    short.dispose();
    short.dispose();
    const settled = await Promise.allSettled([...reads, waiting]);
    const last = settled.at(-1)!;
    expect(last.status === "rejected" && last.reason).toEqual(error("DISPOSED"));
    for (const s of settled) if (s.status === "rejected") expect(s.reason).toEqual(error("DISPOSED"));
    await expect(x.read()).rejects.toThrowError(error("DISPOSED"));
    await expect(short.synchronize()).rejects.toThrowError(error("DISPOSED"));
    expect(() => short.zeros([1])).toThrowError(error("DISPOSED"));
    expect(() => add(x, x)).toThrowError(error("DISPOSED"));
    expect(() => short.memory).toThrowError(error("DISPOSED"));
    x.dispose();
    await new Promise((done) => setTimeout(done, 20)); // an unhandled rejection would end the process here
  });

  test("does not affect other devices", async () => {
    const x = device.tensor([1, 2], [2]);
    const short = await Device.open({ threads: 2 });
    short.zeros([4]);
    short.dispose();
    expect(Array.from(await add(x, x).toFloat32Array())).toEqual([2, 4]);
  });
});
