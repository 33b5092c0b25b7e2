// How operations propagate dtypes and shapes, and code that must not compile.
import { expectTypeOf, test } from "vitest";
import { type Device, ops, type PackedWeight, type Tensor } from "../../lib/index.js";
import { call } from "../../lib/ops/call.js";

declare const device: Device;
declare const x: Tensor<"bf16", readonly [5, 8]>;
declare const loose: Tensor<"bf16">;
declare const vector: Tensor<"f32", readonly [8]>;
declare const ids: Tensor<"i32", readonly [5]>;
declare const seven: Tensor<"f32", readonly [7]>;
declare const integers: Tensor<"i32", readonly [5, 8]>;
declare const packed: PackedWeight<"f8e4m3", readonly [16, 8]>;
declare const grouped: ops.ExpertWeight<16>;
declare const experts: ops.Experts;
declare const options: ops.RouterOptions;

test("linear: [M, K] x [N, K] -> [M, N]", () => {
  expectTypeOf(ops.linear(x, packed)).toEqualTypeOf<Tensor<"bf16", readonly [5, 16]>>();
  expectTypeOf(ops.linear(x, device.zeros([16, 8]), { outDtype: "f32" })).toEqualTypeOf<
    Tensor<"f32", readonly [5, 16]>
  >();
  expectTypeOf(ops.packWeight(device.zeros([16, 8], "bf16"))).toEqualTypeOf<PackedWeight<"bf16", readonly [16, 8]>>();
  // @ts-expect-error K differs: 8 and 7
  ops.linear(x, device.zeros([16, 7]));
  // @ts-expect-error a weight is a matrix
  ops.linear(x, vector);
  // @ts-expect-error weights are floats
  ops.linear(x, device.zeros([16, 8], "u8"));
  // @ts-expect-error no such activation
  ops.linear(x, packed, { activation: "swish" });
  // @ts-expect-error misspelt option
  ops.linear(x, packed, { outDType: "f32" });
});

test("norms keep dtype and shape", () => {
  expectTypeOf(ops.rmsNorm(x, vector)).toEqualTypeOf<typeof x>();
  expectTypeOf(ops.layerNorm(x, vector, vector, { eps: 1e-6 })).toEqualTypeOf<typeof x>();
  expectTypeOf(ops.addRmsNorm(x, x, vector)).toEqualTypeOf<{ y: typeof x; residual: typeof x }>();
  expectTypeOf(ops.rmsNorm(loose, vector)).toEqualTypeOf<typeof loose>();
  // @ts-expect-error the weight has 7 columns
  ops.rmsNorm(x, seven);
  // @ts-expect-error the weight is a vector
  ops.layerNorm(x, x);
  // @ts-expect-error the bias has 7 columns
  ops.layerNorm(x, vector, seven);
  // @ts-expect-error the residual has x's dtype
  ops.addRmsNorm(x, device.zeros([5, 8]), vector);
  // @ts-expect-error the residual has x's shape
  ops.addRmsNorm(x, device.zeros([4, 8], "bf16"), vector);
  // @ts-expect-error integers are not activations
  ops.rmsNorm(integers, vector);
  // @ts-expect-error a packed weight is not a tensor
  ops.rmsNorm(packed, vector);
});

test("add and mul take the same shape or a row", () => {
  expectTypeOf(ops.add(x, x)).toEqualTypeOf<typeof x>();
  expectTypeOf(ops.mul(x, vector)).toEqualTypeOf<typeof x>();
  expectTypeOf(ops.add(x, loose)).toEqualTypeOf<typeof x>();
  expectTypeOf(ops.activation(x, "gelu")).toEqualTypeOf<typeof x>();
  // @ts-expect-error b is neither of x's shape nor a row
  ops.add(x, seven);
  // @ts-expect-error rows differ
  ops.mul(x, device.zeros([4, 8]));
  // @ts-expect-error no such function
  ops.activation(x, "swish");
});

test("clamp keeps dtype and shape", () => {
  expectTypeOf(ops.clamp(x, { low: -1, high: 1 })).toEqualTypeOf<typeof x>();
  expectTypeOf(ops.clamp(loose)).toEqualTypeOf<typeof loose>();
  // @ts-expect-error integers are not activations
  ops.clamp(integers, { low: 0 });
  // @ts-expect-error bounds are numbers
  ops.clamp(x, { low: vector });
  // @ts-expect-error misspelt option
  ops.clamp(x, { hihg: 1 });
});

test("magnitude keeps dtype and rank", () => {
  expectTypeOf(ops.magnitude(x).dtype).toEqualTypeOf(x.dtype);
  // @ts-expect-error integers are not activations
  ops.magnitude(integers);
});

test("rows are looked up, stacked, cut and cast", () => {
  const table = device.zeros([100, 8], "bf16");
  expectTypeOf(ops.embedding(table, ids)).toEqualTypeOf<Tensor<"bf16", readonly [5, 8]>>();
  expectTypeOf(ops.embedding(table, ids, { outDtype: "f32" })).toEqualTypeOf<Tensor<"f32", readonly [5, 8]>>();
  expectTypeOf(ops.embedding(table, device.zeros([2, 3], "i32"))).toEqualTypeOf<Tensor<"bf16", readonly [2, 3, 8]>>();
  expectTypeOf(ops.gatherRows(device.zeros([9, 2, 4], "u8"), ids)).toEqualTypeOf<Tensor<"u8", readonly [5, 2, 4]>>();
  expectTypeOf(ops.concatRows([x, x.slice(1)])).toEqualTypeOf<Tensor<"bf16", readonly [number, 8]>>();
  expectTypeOf(ops.splitColumns(x, [6, 2])).toEqualTypeOf<
    [Tensor<"bf16", readonly [5, 6]>, Tensor<"bf16", readonly [5, 2]>]
  >();
  expectTypeOf(ops.transpose(x)).toEqualTypeOf<Tensor<"bf16", readonly [8, 5]>>();
  expectTypeOf(ops.cast(integers, "f32")).toEqualTypeOf<Tensor<"f32", readonly [5, 8]>>();
  expectTypeOf(ops.maskRows(x, [3, 2])).toEqualTypeOf<typeof x>();
  // @ts-expect-error ids are i32
  ops.embedding(table, vector);
  // @ts-expect-error a table is a matrix
  ops.embedding(vector, ids);
  // @ts-expect-error the tables hold floats
  ops.embedding(integers, ids);
  // @ts-expect-error only a matrix can be transposed
  ops.transpose(vector);
  // @ts-expect-error cast() does not produce integers
  ops.cast(x, "i32");
  // @ts-expect-error dtypes differ
  ops.copyRows(x, integers);
});

test("matrices are quantised and back", () => {
  const w = device.zeros([256, 512], "bf16");
  const affine = ops.quantizeAffine(w, { bits: 3, group: 64 });
  expectTypeOf(affine.codes).toEqualTypeOf<Tensor<"u8", readonly [256, number]>>();
  expectTypeOf(affine.scale).toEqualTypeOf<Tensor<"bf16", readonly [256, number]>>();
  expectTypeOf(ops.dequantizeAffine(affine.codes, { bits: 3, scale: affine.scale })).toEqualTypeOf<
    Tensor<"f32", readonly [256, number]>
  >();
  const fp8 = ops.quantizeFp8(w);
  expectTypeOf(fp8.codes).toEqualTypeOf<Tensor<"f8e4m3", readonly [256, 512]>>();
  expectTypeOf(ops.dequantizeFp8(fp8.codes, { scale: fp8.scale, outDtype: "bf16" })).toEqualTypeOf<
    Tensor<"bf16", readonly [256, 512]>
  >();
  // @ts-expect-error seven bits are not read
  ops.quantizeAffine(w, { bits: 7, group: 64 });
  // @ts-expect-error only matrices are quantised
  ops.quantizeFp8(vector);
  // @ts-expect-error codes are bytes
  ops.dequantizeAffine(w, { bits: 4, scale: affine.scale });
});

test("images are bytes", () => {
  const image = device.zeros([48, 64, 3], "u8");
  const norm = { mean: [0, 0, 0], std: [1, 1, 1] } as const;
  expectTypeOf(ops.resizeBicubic(image, [28, 56])).toEqualTypeOf<Tensor<"u8", readonly [28, 56, 3]>>();
  expectTypeOf(ops.patchify(image, norm)).toEqualTypeOf<Tensor<"f32", readonly [number, number]>>();
  const either = Math.random() < 0.5 ? image : device.zeros([2, 48, 64, 3], "u8");
  expectTypeOf(ops.patchify(either, norm)).toEqualTypeOf<Tensor<"f32", readonly [number, number]>>();
  expectTypeOf(ops.interpolateTokens(x, { from: [1, 5], to: [1, 3] })).toEqualTypeOf<
    Tensor<"bf16", readonly [number, 8]>
  >();
  // @ts-expect-error an image has bytes
  ops.resizeBicubic(device.zeros([48, 64, 3]), [28, 56]);
  // @ts-expect-error an image is not a matrix
  ops.resizeBicubic(device.zeros([48, 64], "u8"), [28, 56]);
  // @ts-expect-error an image is not a matrix
  ops.patchify(device.zeros([48, 64], "u8"), norm);
  // @ts-expect-error there are three means
  ops.patchify(image, { mean: [0, 0], std: [1, 1, 1] });
});

test("sampling returns one id per row", () => {
  expectTypeOf(ops.argmax(x)).toEqualTypeOf<Tensor<"i32", readonly [5]>>();
  expectTypeOf(ops.sample(x, { seed: 1, step: 0 })).toEqualTypeOf<Tensor<"i32", readonly [5]>>();
  expectTypeOf(ops.repetitionPenalty(x, device.zeros([5, 30], "i32"), 1.1)).toEqualTypeOf<typeof x>();
  expectTypeOf(ops.argmax(loose)).toEqualTypeOf<Tensor<"i32", readonly [number]>>();
  // @ts-expect-error the seed is required
  ops.sample(x, { step: 0 });
  // @ts-expect-error logits have two dimensions
  ops.argmax(vector);
  // @ts-expect-error the history holds ids
  ops.repetitionPenalty(x, x, 1.1);
  // @ts-expect-error ranges are pairs
  ops.argmax(x, { allowed: [[1]] });
});

test("the mixture of experts keeps tokens and picks", () => {
  const routing = ops.router(x, device.zeros([12, 8]), undefined, { topK: 3, experts: 8, zeroExperts: 4, scale: 6 });
  expectTypeOf(routing.ids).toEqualTypeOf<Tensor<"i32", readonly [5, 3]>>();
  expectTypeOf(routing.weights).toEqualTypeOf<Tensor<"f32", readonly [5, 3]>>();
  expectTypeOf(routing.zeroWeight).toEqualTypeOf<Tensor<"f32", readonly [5]>>();
  const rows = ops.permutation(routing);
  expectTypeOf(rows.slotOf).toEqualTypeOf<Tensor<"i32", readonly [5, 3]>>();
  expectTypeOf(rows.tokenOf).toEqualTypeOf<Tensor<"i32", readonly [number]>>();
  expectTypeOf(ops.moe(x, experts, routing)).toEqualTypeOf<typeof x>();
  expectTypeOf(ops.moe(x, experts, routing, { residual: x })).toEqualTypeOf<typeof x>();
  expectTypeOf(ops.combine(loose, x, routing, rows)).toEqualTypeOf<typeof x>();
  expectTypeOf(ops.groupedGemm(x, grouped, ids)).toEqualTypeOf<Tensor<"bf16", readonly [5, 16]>>();
  expectTypeOf(ops.groupedGemm(x, grouped, ids, { gather: rows.tokenOf })).toEqualTypeOf<
    Tensor<"bf16", readonly [number, 16]>
  >();
  expectTypeOf(ops.groupedSwiglu(x, grouped, grouped, ids)).toEqualTypeOf<Tensor<"bf16", readonly [5, 16]>>();
  expectTypeOf(ops.router(loose, loose, undefined, options).weights).toEqualTypeOf<
    Tensor<"f32", readonly [number, number]>
  >();
  // @ts-expect-error tokens are rows of a matrix
  ops.router(vector, packed, undefined, options);
  // @ts-expect-error tokens are rows of a matrix
  ops.moe(vector, experts, routing);
  // @ts-expect-error the residual has x's dtype
  ops.moe(x, experts, routing, { residual: device.zeros([5, 8]) });
  // @ts-expect-error an expert's weight is packed
  ops.groupedGemm(x, device.zeros([4, 16, 8]), ids);
});

test("attention keeps the tokens", () => {
  const heads = device.zeros([5, 2, 32], "bf16");
  expectTypeOf(ops.rope(heads, ids, { theta: 1e6 })).toEqualTypeOf<typeof heads>();
  expectTypeOf(ops.attention(heads, heads, heads, { cuSeqlens: ids })).toEqualTypeOf<
    Tensor<"bf16", readonly [5, number]>
  >();
  expectTypeOf(
    ops.vitAttention(x, {
      heads: 2,
      cuSeqlens: ids,
      positions: device.zeros([5, 2], "i32"),
      qNorm: vector,
      kNorm: vector,
    }),
  ).toEqualTypeOf<Tensor<"bf16", readonly [5, number]>>();
  const mla = {
    ...{ wKvB: packed, cache: loose, blockTable: integers, seqLens: ids },
    ...{ heads: 2, nopeDim: 24, ropeDim: 8, vDim: 16 },
  };
  expectTypeOf(ops.mlaPrefill({ q: heads, cuSeqlens: ids, ...mla })).toEqualTypeOf<
    Tensor<"bf16", readonly [5, number]>
  >();
  expectTypeOf(ops.mlaDecode({ q: heads, ...mla })).toEqualTypeOf<{
    readonly o: Tensor<"bf16", readonly [5, number]>;
    readonly lse: Tensor<"f32", readonly [5, 2]>;
  }>();
  expectTypeOf(ops.mlaDecode({ q: loose, ...mla }).lse).toEqualTypeOf<Tensor<"f32", readonly [number, number]>>();
  // @ts-expect-error queries have a dimension of heads
  ops.mlaDecode({ q: x, ...mla });
  // @ts-expect-error queries have a dimension of heads
  ops.attention(x, x, x, { cuSeqlens: ids });
  // @ts-expect-error q, k and v have the same shape
  ops.attention(heads, heads, device.zeros([4, 2, 32], "bf16"), { cuSeqlens: ids });
  // @ts-expect-error positions are integers
  ops.rope(heads, vector, { theta: 1e6 });
});

test("only the arguments of an operation are passed to it", () => {
  call("linear", { x, w: packed, activation: "silu" });
  call("linear", { x }, { w: packed });
  // @ts-expect-error w is required
  call("linear", { x });
  // @ts-expect-error x is required
  call("linear", {}, { w: packed });
  // @ts-expect-error x is given already
  call("linear", { x, w: packed }, { x });
  const sizes = { topK: 1, experts: 2, zeroExperts: 0 };
  call("router", { x, classifier: x }, { ...sizes, scale: 1 });
  // @ts-expect-error a router has no default scale
  call("router", { x, classifier: x }, sizes);
  // @ts-expect-error misspelt argument
  call("linear", { x, w: packed, biass: vector });
  // @ts-expect-error misspelt option
  call("linear", { x, w: packed }, { activatoin: "silu" });
  // @ts-expect-error no such activation
  call("linear", { x, w: packed, activation: "swish" });
  // @ts-expect-error a scale is a number
  call("attention", { q: x, k: x, v: x, cuSeqlens: ids, scale: "1" });
  // @ts-expect-error no such operation
  call("liner", { x, w: packed });
  // @ts-expect-error not an operation
  call("openCpu", {});
});
