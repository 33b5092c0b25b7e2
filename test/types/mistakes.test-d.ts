// Mistakes of shape that people make, each of which must not compile, beside the same call without it. What the compiler
// cannot know is checked when the operation is called.
import { expectTypeOf, test } from "vitest";
import { type Device, ops, type Tensor } from "../../lib/index.js";

declare const device: Device;
declare const x: Tensor<"f32", readonly [5, 8]>;
declare const heads: Tensor<"f32", readonly [5, 2, 32]>;
declare const f8: Tensor<"f8e4m3", readonly [16, 8]>;
declare const ids: Tensor<"i32", readonly [5]>;
declare const experts: ops.ExpertWeight<16, 8, 4>;
declare const down: ops.ExpertWeight<8, 16, 4>;
declare const offsets: Tensor<"i32", readonly [5]>;
const z = <const S extends readonly number[]>(...shape: S) => device.zeros(shape);
const router = { topK: 3, experts: 8, zeroExperts: 4, scale: 6 } as const;
const routing = ops.router(x, z(12, 8), undefined, router);
const rows = ops.permutation(routing);

test("1: linear's K", () => {
  ops.linear(x, z(16, 8));
  // @ts-expect-error [*, 8]
  ops.linear(x, z(16, 9));
});

test("2: linear's bias", () => {
  ops.linear(x, z(16, 8), { bias: z(16) });
  // @ts-expect-error [16]
  ops.linear(x, z(16, 8), { bias: z(8) });
});

test("3: linear's residual", () => {
  ops.linear(x, z(16, 8), { residual: z(5, 16) });
  // @ts-expect-error [5, 16]
  ops.linear(x, z(16, 8), { residual: z(5, 8) });
});

test("4: a plain f8e4m3 weight, and packing one without its scale", () => {
  ops.linear(x, ops.packWeight(f8, { scale: z(1, 1) }));
  // @ts-expect-error it would lack its scale
  ops.linear(x, f8);
  // @ts-expect-error { scale }
  ops.packWeight(f8);
});

test("5: swiglu's up", () => {
  ops.swiglu(x, z(16, 8), z(16, 8));
  // @ts-expect-error [16, 8]
  ops.swiglu(x, z(16, 8), z(12, 8));
});

test("6: a norm's weight", () => {
  ops.rmsNorm(x, z(8));
  // @ts-expect-error [8]
  ops.rmsNorm(x, z(7));
});

test("7: the second operand of add", () => {
  ops.add(x, z(8));
  // @ts-expect-error [5, 8] or [8]
  ops.add(x, z(5));
});

test("8: embedding's table", () => {
  ops.embedding(z(100, 8), ids);
  // @ts-expect-error a matrix
  ops.embedding(z(100), ids);
});

test("9: rope's positions", () => {
  ops.rope(heads, ids, { theta: 1e4 });
  // @ts-expect-error [5]
  ops.rope(heads, device.zeros([4], "i32"), { theta: 1e4 });
});

test("10: attention's keys", () => {
  ops.attention(heads, heads, heads, { cuSeqlens: ids });
  // @ts-expect-error [5, 2, 32]
  ops.attention(heads, z(5, 1, 32), heads, { cuSeqlens: ids });
});

test("11: the positions of the vision encoder", () => {
  const options = { heads: 2, cuSeqlens: ids, qNorm: z(8), kNorm: z(8) };
  ops.vitAttention(z(5, 24), { ...options, positions: device.zeros([5, 2], "i32") });
  // @ts-expect-error [5, 2]
  ops.vitAttention(z(5, 24), { ...options, positions: ids });
});

test("12: the router's classifier", () => {
  ops.router(x, z(12, 8), undefined, router);
  // @ts-expect-error [*, 8]
  ops.router(x, z(8, 12), undefined, router);
});

test("13: the router's bias", () => {
  ops.router(x, z(12, 8), z(12), router);
  // @ts-expect-error [12]
  ops.router(x, z(12, 8), z(8), router);
});

test("14: grouped GEMM's K", () => {
  ops.groupedGemm(x, experts, offsets);
  // @ts-expect-error [*, *, 8]
  ops.groupedGemm(x, down, offsets);
});

test("15: grouped GEMM's E", () => {
  ops.groupedGemm(x, experts, offsets);
  // @ts-expect-error [5]
  ops.groupedGemm(x, experts, device.zeros([4], "i32"));
});

test("16: combine's D", () => {
  ops.combine(z(15, 8), x, routing, rows);
  // @ts-expect-error [*, 8]
  ops.combine(z(15, 16), x, routing, rows);
});

test("17: moe with the experts of another layer, or the routing of other tokens", () => {
  ops.moe(x, { gate: experts, up: experts, down }, routing);
  // @ts-expect-error x has 8 columns
  ops.moe(x, { gate: down, up: down, down: experts }, routing);
  // @ts-expect-error the routing is of 5 tokens
  ops.moe(z(4, 8), { gate: experts, up: experts, down }, routing);
});

test("18: fsmn's weight", () => {
  ops.fsmnMemory(x, z(8, 1, 3), { leftOrder: 2 });
  // @ts-expect-error [8, *]
  ops.fsmnMemory(x, z(3, 8), { leftOrder: 2 });
});

test("19: conv1d's channels, and a weight that was packed for something else", () => {
  ops.conv1d(x, z(16, 8, 3));
  ops.conv1d(x, z(16, 4, 3), { groups: 2 });
  ops.conv1d(x, ops.packConv1d(z(16, 8, 3)));
  // @ts-expect-error [*, 8, *]
  ops.conv1d(x, z(8, 16, 3));
  // @ts-expect-error packed by packWeights
  ops.conv1d(x, ops.packWeights([z(16, 8, 3)]));
  // @ts-expect-error packed by packConvTranspose1d
  ops.conv1d(x, ops.packConvTranspose1d(z(16, 8, 3)));
});

test("20: cmvn's mean", () => {
  ops.cmvn(x, z(8), z(8));
  // @ts-expect-error [8]
  ops.cmvn(x, z(5), z(8));
});

test("21: snake's alpha", () => {
  ops.snake(x, z(8));
  // @ts-expect-error [8]
  ops.snake(x, z(5));
});

test("22: lstm's weights", () => {
  const state = { h: z(4), c: z(4) };
  ops.lstm(x, { wIh: z(16, 8), wHh: z(16, 4), ...state });
  // @ts-expect-error [16, 8]
  ops.lstm(x, { wIh: z(16, 5), wHh: z(16, 4), ...state });
});

test("23: rows of different widths or dtypes", () => {
  ops.concatRows([x, z(2, 8)]);
  ops.copyRows(x, z(2, 8));
  // @ts-expect-error the same shape of rows
  ops.concatRows([x, z(2, 7)]);
  // @ts-expect-error the same dtype
  ops.concatRows([x, device.zeros([2, 8], "bf16")]);
  // @ts-expect-error [*, 8]
  ops.copyRows(x, z(2, 7));
});

test("24: the number of elements", () => {
  x.reshape([4, 10]);
  device.tensor([1, 2, 3, 4, 5, 6], [2, 3]);
  device.tensor(new Float32Array(6), [2, 2]);
  // @ts-expect-error 40 elements
  x.reshape([4, 8]);
  // @ts-expect-error 6 elements
  device.tensor([1, 2, 3, 4, 5], [2, 3]);
});

test("the results of the mixture of experts have the tokens' shape", () => {
  expectTypeOf(ops.moe(x, { gate: experts, up: experts, down }, routing)).toEqualTypeOf<typeof x>();
  expectTypeOf(ops.groupedSwiglu(x, experts, experts, offsets)).toEqualTypeOf<Tensor<"f32", readonly [5, 16]>>();
  expectTypeOf(ops.combine(z(15, 8), x, routing, rows)).toEqualTypeOf<typeof x>();
  expectTypeOf(routing).toEqualTypeOf<ops.Routing<5, 3>>();
  expectTypeOf(ops.conv1d(x, ops.packConv1d(z(16, 8, 3)))).toEqualTypeOf<Tensor<"f32", readonly [number, 16]>>();
  expectTypeOf(ops.lstm(x, { wIh: z(16, 8), wHh: z(16, 4), h: z(4), c: z(4) })).toEqualTypeOf<
    Tensor<"f32", readonly [5, 4]>
  >();
});

test("tensors whose shapes the compiler does not know are taken", () => {
  const any = device.zeros([5, 8] as number[]);
  const weight = ops.packWeight(any);
  ops.linear(any, weight);
  ops.linear(x, weight, { bias: any });
  ops.swiglu(any, z(16, 8), weight);
  ops.router(any, any, any, router);
  ops.conv1d(any, ops.packConv1d(any));
  ops.lstm(any, { wIh: any, wHh: any, h: any, c: any });
  ops.concatRows([any, x]);
  ops.concatRows([x, any] as (typeof any)[]);
  any.reshape([4, 10]);
  x.reshape([any.shape[0]!, 8]);
  device.tensor([1, 2, 3].map(Math.sqrt), [2, 2]);
});
