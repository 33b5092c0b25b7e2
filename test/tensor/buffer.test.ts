import { afterEach, expect, test, vi } from "vitest";
import { addon } from "../../lib/native/addon.js";
import { newArrayBuffer } from "../../lib/tensor/buffer.js";
import { Device } from "../../lib/tensor/tensor.js";
import { code } from "../support/errors.js";

afterEach(() => vi.unstubAllGlobals());

test("elements are read into memory of the library's own, whatever the global ArrayBuffer is", async () => {
  await using device = await Device.open({ backend: "cpu", threads: 1 });
  const made: ArrayBuffer[] = [];
  const Genuine = ArrayBuffer;
  const replacements = [
    class extends Genuine {
      constructor() {
        super(1);
        made.push(this);
      }
    },
    class extends Genuine {
      constructor(bytes: number) {
        super(bytes);
        made.push(this);
        queueMicrotask(() => structuredClone(this, { transfer: [this] }));
      }
    },
    undefined,
  ];
  using x = device.tensor([1, 2, 3], [3]);
  for (const replacement of replacements) {
    vi.stubGlobal("ArrayBuffer", replacement);
    const values = await x.read();
    const wide = await x.toFloat32Array();
    vi.unstubAllGlobals();
    expect([...values, ...wide]).toEqual([1, 2, 3, 1, 2, 3]);
    expect(values.buffer).toBeInstanceOf(ArrayBuffer);
  }
  expect(made).toEqual([]);
});

test("memory that does not exist is refused", () => {
  expect(() => newArrayBuffer(2 ** 60)).toThrow(code("OUT_OF_MEMORY"));
});

test("the addon fills nothing but an ArrayBuffer of exactly the elements' bytes", async () => {
  await using device = await Device.open({ backend: "cpu", threads: 1 });
  using x = device.tensor([1, 2, 3], [3]);
  const detached = new ArrayBuffer(12);
  structuredClone(detached, { transfer: [detached] });
  const others = [undefined, 12, {}, new ArrayBuffer(11), new ArrayBuffer(13), new SharedArrayBuffer(12), detached];
  for (const other of [...others, new Uint8Array(12), Object.create(new ArrayBuffer(12))])
    expect(() => addon().read(x.handle, false, other as ArrayBuffer)).toThrow();
});
