import { describe, expect, test } from "vitest";
import { Device, Graph, upload } from "../../lib/index.js";
import { backends } from "../support/devices.js";
import { code } from "../support/errors.js";
import { settledMemory } from "../support/garbage.js";
import { turnsDuring } from "../support/turns.js";

const count = 2 ** 21 + 5; // nine pieces
const numbers = Float32Array.from({ length: count }, (_, i) => Math.sin(i));

describe.each(backends)("upload on $name", (device) => {
  test.each(["f32", "bf16", "f8e4m3"] as const)("gives the %s tensor that Device.tensor gives", async (dtype) => {
    using whole = device.tensor(numbers, [count], dtype);
    using uploaded = await upload(device, numbers, [1, count], dtype);
    expect([uploaded.shape, uploaded.dtype]).toEqual([[1, count], dtype]);
    expect(Buffer.compare(await bytes(uploaded), await bytes(whole))).toBe(0);
  });

  test("takes empty arrays, and arrays of every kind", async () => {
    for (const values of [new Float64Array(0), new Float64Array([1, 2]), new Float32Array([1, 2])]) {
      using x = await upload(device, values, [values.length]);
      expect([...(await x.read())]).toEqual([...values]);
    }
    using ids = await upload(device, Int32Array.of(7, -8), [2, 1], "i32");
    expect([...(await ids.read())]).toEqual([7, -8]);
  });

  test("refuses what Device.tensor refuses, and keeps no memory then", async () => {
    const before = await settledMemory(device);
    await expect(upload(device, numbers, [count - 1])).rejects.toThrow(code("SHAPE_MISMATCH"));
    await expect(upload(device, new Float32Array(0), [1])).rejects.toThrow(code("SHAPE_MISMATCH"));
    await expect(upload(device, numbers, [count], "i32")).rejects.toThrow(code("DTYPE_MISMATCH"));
    await expect(upload(device, new Float32Array(0), [0], "i32")).rejects.toThrow(code("DTYPE_MISMATCH"));
    await expect(upload(device, [1, 2] as never, [2])).rejects.toThrow(/values must be a TypedArray, got a list of 2/);
    await expect(upload(device, numbers, [count], "f32", { abort: 1 } as never)).rejects.toThrow(/no option "abort"/);
    const shared = new Float32Array(new SharedArrayBuffer(8));
    await expect(upload(device, shared, [2])).rejects.toThrow(/SharedArrayBuffer/);
    const signal = AbortSignal.abort();
    await expect(upload(device, numbers, [count], "f32", { signal })).rejects.toThrow(code("ABORTED"));
    expect(await settledMemory(device)).toBe(before);
  });

  test("gives the event loop a turn after each piece, and survives what happens meanwhile", async () => {
    expect(await turnsDuring(async () => (await upload(device, numbers, [count])).dispose())).toBe(9);
    const values = numbers.slice();
    setImmediate(() => structuredClone(values, { transfer: [values.buffer] })); // the array is empty from then on
    const emptied = turnsDuring(() => upload(device, values, [count]));
    await expect(emptied).rejects.toThrow(/the values became 0 of 2097157 meanwhile: keep them/);
  });
});

test("upload fails when the device is disposed meanwhile, or captures a graph", async () => {
  const device = await Device.open({ backend: "cpu", threads: 1 });
  const capturing = new Promise<void>((resolve) => {
    Graph.capture(device, () => {
      const refused = upload(device, numbers, [count]);
      resolve(expect(refused).rejects.toThrow(code("INVALID_ARGUMENT")));
      return device.zeros([1]);
    }).dispose();
  });
  await capturing;
  setImmediate(() => device.dispose());
  const late = turnsDuring(() => upload(device, numbers, [count]));
  await expect(late).rejects.toThrow(code("DISPOSED"));
});

async function bytes(tensor: { read(): Promise<Float32Array | Uint16Array | Uint8Array> }): Promise<Uint8Array> {
  const { buffer } = await tensor.read();
  return new Uint8Array(buffer);
}
