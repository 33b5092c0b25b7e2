// The types of tensors, and code that must not compile.
import { expectTypeOf, test } from "vitest";
import type { Device, loadTensors, PackedWeight, Shape, saveTensors, Tensor } from "../../lib/index.js";

declare const device: Device;
declare const x: Tensor<"f32", readonly [2, 8]>;
declare const rows: number;

test("a new tensor has its dtype and literal shape in the type", () => {
  expectTypeOf(device.zeros([2, 8])).toEqualTypeOf<Tensor<"f32", readonly [2, 8]>>();
  expectTypeOf(device.zeros([2, 8], "bf16")).toEqualTypeOf<Tensor<"bf16", readonly [2, 8]>>();
  expectTypeOf(device.tensor([1, 2], [2], "i32")).toEqualTypeOf<Tensor<"i32", readonly [2]>>();
  expectTypeOf(device.tensor(new Float32Array(0), [rows, 8])).toEqualTypeOf<Tensor<"f32", readonly [number, 8]>>();
  // @ts-expect-error the default dtype is f32, whatever type is expected
  const narrow: Tensor<"bf16", readonly [2]> = device.zeros([2]);
  expectTypeOf(narrow).not.toBeAny();
  // @ts-expect-error no such dtype
  device.zeros([2], "f64");
  // @ts-expect-error a shape is an array of numbers
  device.zeros(2);
  // @ts-expect-error values are numbers
  device.tensor(["1"], [1]);
});

test("a literal shape is assignable to a looser one, but not the reverse", () => {
  expectTypeOf<Tensor<"f32", readonly [2, 8]>>().toExtend<Tensor<"f32", readonly [number, 8]>>();
  expectTypeOf<Tensor<"f32", readonly [2, 8]>>().toExtend<Tensor<"f32">>();
  expectTypeOf<Tensor<"f32", readonly [2, 8]>>().toExtend<Tensor>();
  expectTypeOf<Tensor<"f32", Shape>>().not.toExtend<Tensor<"f32", readonly [2, 8]>>();
  expectTypeOf<Tensor<"f32", readonly [number, 8]>>().not.toExtend<Tensor<"f32", readonly [2, 8]>>();
  expectTypeOf<Tensor<"bf16", readonly [2, 8]>>().not.toExtend<Tensor<"f32", readonly [2, 8]>>();
});

test("shapes are read-only", () => {
  expectTypeOf(x.shape[1]).toEqualTypeOf<8>();
  // @ts-expect-error read-only
  x.shape[0] = 3;
  // @ts-expect-error there are only two dimensions
  x.shape[2];
});

test("read() returns the TypedArray of the dtype", () => {
  expectTypeOf(x.read()).resolves.toEqualTypeOf<Float32Array>();
  expectTypeOf(device.zeros([1], "bf16").read()).resolves.toEqualTypeOf<Uint16Array>();
  expectTypeOf(device.zeros([1], "f8e4m3").read()).resolves.toEqualTypeOf<Uint8Array>();
  expectTypeOf(device.zeros([1], "i32").read()).resolves.toEqualTypeOf<Int32Array>();
  expectTypeOf(device.zeros([1], "i32").toFloat32Array()).resolves.toEqualTypeOf<Float32Array>();
});

test("views have the shape of their rows", () => {
  expectTypeOf(x.reshape([4, 4])).toEqualTypeOf<Tensor<"f32", readonly [4, 4]>>();
  expectTypeOf(x.slice(0, 1)).toEqualTypeOf<Tensor<"f32", readonly [number, 8]>>();
  expectTypeOf(device.zeros([3, 4, 5]).slice(1)).toEqualTypeOf<Tensor<"f32", readonly [number, 4, 5]>>();
});

test("packed weights and tensors are not assignable to each other", () => {
  expectTypeOf<PackedWeight<"f32", readonly [2, 8]>>().not.toExtend<Tensor<"f32", readonly [2, 8]>>();
  expectTypeOf<Tensor<"f32", readonly [2, 8]>>().not.toExtend<PackedWeight<"f32", readonly [2, 8]>>();
  expectTypeOf<PackedWeight>().not.toHaveProperty("read");
});

test("a scope returns the result of its function", () => {
  expectTypeOf(device.scope(() => x)).toEqualTypeOf<typeof x>();
  expectTypeOf(device.scope(() => ({ list: [x], n: 3 }))).toEqualTypeOf<{ list: (typeof x)[]; n: number }>();
});

test("files take tensors and give tensors", async () => {
  const files = {} as { save: typeof saveTensors; load: typeof loadTensors };
  expectTypeOf((await files.load("x.safetensors", { device })).tensors.x!).toEqualTypeOf<Tensor>();
  files.save("x.safetensors", { x }, { metadata: { made: "today" } });
  // @ts-expect-error the device is required
  files.load("x.safetensors");
  // @ts-expect-error a packed weight has no elements to save
  files.save("x.safetensors", { weight: {} as PackedWeight });
  // @ts-expect-error metadata is text
  files.save("x.safetensors", { x }, { metadata: { made: 5 } });
});
