import { describe, expect, test } from "vitest";
import { type Conv1dGeometry, conv1d, packConv1d, snake } from "../../lib/ops/audio.js";
import { Conv1dStream } from "../../lib/ops/convStream.js";
import { add } from "../../lib/ops/elementwise.js";
import { concatRows } from "../../lib/ops/rows.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { allDevices } from "../support/devices.js";
import { code } from "../support/errors.js";
import { bf16, randomArray, relativeError } from "../support/numbers.js";
import { streamed } from "../support/streams.js";

interface Shape1d {
  readonly rows: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly taps: number;
}
type Geometry = Pick<Conv1dGeometry, "dilation" | "groups" | "stride" | "padding">;

function referenceConv1d(x: Float32Array, w: Float32Array, shape: Shape1d, geometry: Geometry): Float64Array {
  const { rows, inputs, outputs, taps } = shape;
  const { dilation = 1, groups = 1, stride = 1, padding = "causal" } = geometry;
  const span = (taps - 1) * dilation;
  const [left, right] =
    padding === "causal" ? [span, 0] : padding === "symmetric" ? [Math.floor(span / 2), Math.ceil(span / 2)] : padding;
  const [groupInputs, groupOutputs] = [inputs / groups, outputs / groups];
  const outRows = Math.max(0, Math.floor((rows + left + right - span - 1) / stride) + 1);
  const y = new Float64Array(outRows * outputs);
  for (let t = 0; t < outRows; t++)
    for (let o = 0; o < outputs; o++)
      for (let j = 0; j < taps; j++) {
        const row = t * stride + j * dilation - left;
        if (row < 0 || row >= rows) continue;
        const group = Math.floor(o / groupOutputs);
        for (let c = 0; c < groupInputs; c++)
          y[t * outputs + o]! += w[(o * groupInputs + c) * taps + j]! * x[row * inputs + group * groupInputs + c]!;
      }
  return y;
}

/** `values` with one of their `channels` replaced by that of `others`. */
function dropChannel(values: Float32Array, others: Float32Array, channels: number, channel: number): Float32Array {
  return values.map((v, i) => (i % channels === channel ? others[i]! : v));
}

const convCases: [Shape1d, Geometry][] = [
  [{ rows: 20, inputs: 48, outputs: 32, taps: 7 }, { dilation: 3 }],
  [{ rows: 33, inputs: 19, outputs: 21, taps: 7 }, { padding: "symmetric" }],
  [{ rows: 40, inputs: 96, outputs: 1, taps: 7 }, {}],
  [{ rows: 40, inputs: 1, outputs: 9, taps: 7 }, { padding: [3, 3] }],
  [
    { rows: 41, inputs: 6, outputs: 10, taps: 8 },
    { stride: 4, padding: [2, 2] },
  ],
  [
    { rows: 41, inputs: 5, outputs: 4, taps: 4 },
    { stride: 3, padding: "symmetric", dilation: 2 },
  ],
  [
    { rows: 30, inputs: 20, outputs: 20, taps: 5 },
    { groups: 20, dilation: 2, padding: "symmetric" },
  ],
  [
    { rows: 30, inputs: 32, outputs: 32, taps: 3 },
    { groups: 32, stride: 2 },
  ],
  [{ rows: 18, inputs: 12, outputs: 8, taps: 3 }, { groups: 4 }],
  [
    { rows: 18, inputs: 6, outputs: 12, taps: 3 },
    { groups: 6, padding: [0, 0] },
  ],
  [{ rows: 300, inputs: 24, outputs: 40, taps: 1 }, {}],
  [{ rows: 2, inputs: 4, outputs: 4, taps: 5 }, { padding: [0, 0] }],
  [{ rows: 0, inputs: 4, outputs: 4, taps: 5 }, {}],
];

describe.each(allDevices)("conv1d on $name", (device) => {
  test.each(convCases)("%o with %o matches the definition", async (shape, geometry) => {
    const { rows, inputs, outputs, taps } = shape;
    const width = inputs / (geometry.groups ?? 1);
    const x = randomArray(rows * inputs, 1).map(bf16);
    const w = randomArray(outputs * width * taps, 2).map(bf16);
    const bias = randomArray(outputs, 3).map(bf16);
    const plain = referenceConv1d(x, w, shape, geometry);
    const residual = randomArray(plain.length, 4).map(bf16);
    const expected = plain.map((v, i) => residual[i]! + Math.tanh(v + bias[i % outputs]!));
    for (const [dtype, weightDtype] of [
      ["f32", "f32"],
      ["f32", "bf16"],
      ["bf16", "bf16"],
    ] as const) {
      const input = device.tensor(x, [rows, inputs], dtype);
      const weight = device.tensor(w, [outputs, width, taps], weightDtype);
      const options = {
        ...geometry,
        bias: device.tensor(bias, [outputs], weightDtype),
        activation: "tanh" as const,
        residual: device.tensor(residual, [plain.length / outputs, outputs], dtype),
      };
      using y = conv1d(input, weight, options);
      expect(y.shape).toEqual([plain.length / outputs, outputs]);
      const got = await y.toFloat32Array();
      expect(relativeError(got, expected)).toBeLessThan(dtype === "f32" ? 1e-6 : 4e-3);
      using bare = conv1d(input, weight, geometry);
      expect(relativeError(await bare.toFloat32Array(), plain)).toBeLessThan(dtype === "f32" ? 1e-6 : 4e-3);
      if (geometry.groups === inputs && inputs === outputs) continue; // depthwise weights are not packed
      using packed = packConv1d(weight, { groups: geometry.groups });
      using same = conv1d(input, packed, options);
      expect(await same.toFloat32Array()).toEqual(got);
    }
  });

  test.each(convCases)("%o with %o in pieces equals the whole", async (shape, geometry) => {
    const { rows, inputs, outputs, taps } = shape;
    const width = inputs / (geometry.groups ?? 1);
    const x = device.tensor(randomArray(rows * inputs, 1), [rows, inputs]);
    const weight = device.tensor(randomArray(outputs * width * taps, 2), [outputs, width, taps]);
    const bias = device.tensor(randomArray(outputs, 3), [outputs]);
    using whole = conv1d(x, weight, { ...geometry, bias, activation: "relu" });
    for (const seed of [1, 2]) {
      using stream = new Conv1dStream(weight, { ...geometry, bias, activation: "relu" });
      const got = await streamed(x, (piece, options) => stream.push(piece, options), seed);
      expect(got).toEqual(await whole.toFloat32Array());
    }
  });

  test.each(convCases)("%o with %o and Snake equals both operations, also in pieces", async (shape, geometry) => {
    const { rows, inputs, outputs, taps } = shape;
    const width = inputs / (geometry.groups ?? 1);
    for (const [dtype, weightDtype, alphaDtype] of [
      ["f32", "f32", "f32"],
      ["f32", "bf16", "bf16"],
      ["bf16", "bf16", "f32"],
    ] as const) {
      const values = randomArray(rows * inputs, 1).map(bf16);
      const x = device.tensor(values, [rows, inputs], dtype);
      const weight = device.tensor(
        randomArray(outputs * width * taps, 2).map(bf16),
        [outputs, width, taps],
        weightDtype,
      );
      const bias = device.tensor(randomArray(outputs, 3), [outputs], weightDtype);
      // Among them are 0, negative values and one so large that sin takes its slow path.
      const alphas = randomArray(outputs, 4).map((v, i) => (i === 0 ? 0 : i === 3 ? 1e6 : 8 * v));
      const alpha = device.tensor(alphas, [outputs], alphaDtype);
      const options = { ...geometry, bias, snake: alpha };
      using y = conv1d(x, weight, options);
      const got = await y.toFloat32Array();
      // For bf16 rows the parts are computed in f32, because the fused operation rounds only once.
      using sums = conv1d(device.tensor(values, [rows, inputs]), weight, { ...geometry, bias });
      const parts = await snake(sums, alpha).toFloat32Array();
      if (dtype === "f32") expect(got).toEqual(parts);
      // The channel with alpha 1e6 is left out: the last bit of a sum decides its sine.
      else expect(relativeError(got, dropChannel(parts, got, outputs, 3))).toBeLessThan(4e-3);
      const residual = device.tensor(randomArray(got.length, 5).map(bf16), y.shape, dtype);
      using added = conv1d(x, weight, { ...options, residual });
      if (dtype === "f32") expect(await added.toFloat32Array()).toEqual(await add(y, residual).toFloat32Array());
      if (geometry.groups !== inputs || inputs !== outputs) {
        using packed = packConv1d(weight, { groups: geometry.groups });
        using same = conv1d(x, packed, options);
        expect(await same.toFloat32Array()).toEqual(got);
      }
      if (dtype !== "f32") continue;
      using stream = new Conv1dStream(weight, options);
      expect(await streamed(x as Tensor<"f32">, (piece, o) => stream.push(piece, o), 1)).toEqual(got);
    }
  });

  test("a causal stream with an explicit state returns as many rows as it takes", async () => {
    const [rows, channels, taps, dilation] = [50, 24, 7, 3];
    const x = device.tensor(randomArray(rows * channels, 1).map(bf16), [rows, channels], "bf16");
    using weight = packConv1d(device.tensor(randomArray(channels * channels * taps, 2), [channels, channels, taps]));
    using whole = conv1d(x, weight, { dilation, residual: x });
    const state = device.zeros([(taps - 1) * dilation, channels], "bf16");
    const got: number[] = [];
    for (let t = 0; t < rows; t += 5) {
      const piece = x.slice(t, t + 5);
      using y = conv1d(piece, weight, { dilation, state, residual: piece });
      expect(y.shape).toEqual([5, channels]);
      got.push(...(await y.toFloat32Array()));
    }
    expect(Float32Array.from(got)).toEqual(await whole.toFloat32Array());
  });

  test.each(convCases)("%o with %o of several streams gives the bits of each by itself", async (shape, geometry) => {
    const { rows, inputs, outputs, taps } = shape;
    const streams = 3;
    const span = (taps - 1) * (geometry.dilation ?? 1);
    const w = device.tensor(randomArray((outputs * inputs * taps) / (geometry.groups ?? 1), 2), [
      outputs,
      inputs / (geometry.groups ?? 1),
      taps,
    ]);
    for (const dtype of ["f32", "bf16"] as const) {
      const x = device.tensor(randomArray(streams * rows * inputs, 1), [streams * rows, inputs], dtype);
      const states = () =>
        [4, 5, 6].map((seed) => device.tensor(randomArray(span * inputs, seed), [span, inputs], dtype));
      const [together, alone] = [states(), states()];
      using y = conv1d(x, w, { ...geometry, state: together });
      const [got, count] = [await y.toFloat32Array(), y.shape[0] / streams];
      using again = conv1d(x, w, { ...geometry, state: states(), residual: y });
      const added = await again.toFloat32Array();
      for (const [i, state] of alone.entries()) {
        const piece = x.slice(i * rows, (i + 1) * rows);
        using one = conv1d(piece, w, { ...geometry, state });
        const values = await one.toFloat32Array();
        const own = (all: Float32Array) => all.subarray(i * count * outputs, (i + 1) * count * outputs);
        expect(own(got)).toEqual(values);
        using summed = add(one, y.slice(i * count, (i + 1) * count));
        if (dtype === "f32") expect(own(added)).toEqual(await summed.toFloat32Array());
        expect(await together[i]!.toFloat32Array()).toEqual(await state.toFloat32Array());
      }
    }
  });

  test("streams that advance together must have as many rows and states of their own", () => {
    const [x, w] = [device.zeros([6, 8]), device.zeros([4, 8, 3])];
    const states = (count: number) => Array.from({ length: count }, () => device.zeros([2, 8]));
    const run = (state: readonly Tensor<"f32">[]) => conv1d(x, w, { state });
    expect(() => run(states(4))).toThrowError(/x must have as many rows for each of the 4 states, got \[6, 8\]/);
    const state = device.zeros([2, 8]);
    expect(() => run([state, state])).toThrowError(/state is written in place and must not share memory/);
    expect(() => run([state, device.zeros([3, 8])])).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => run([state, x.slice(0, 2) as Tensor<"f32">])).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => conv1d(device.zeros([65, 8]), w, { state: states(65) })).toThrowError(/at most 64 states, got 65/);
    expect(() => run([state, null as never])).toThrowError(code("INVALID_ARGUMENT"));
    expect(conv1d(x, w, { state: states(6) }).shape).toEqual([6, 4]);
  });

  test("streams that have got as many rows are pushed together, up to the end", async () => {
    const [streams, rows, channels] = [3, 11, 6];
    const weight = device.tensor(randomArray(5 * channels * 5, 2), [5, channels, 5]);
    const options = { padding: "symmetric", dilation: 2, activation: "gelu" } as const;
    const x = Array.from({ length: streams }, (_, i) =>
      device.tensor(randomArray(rows * channels, i + 3), [rows, channels]),
    );
    const all = x.map(() => new Conv1dStream(weight, options));
    const parts: number[][] = x.map(() => []);
    for (let at = 0; at <= rows; at += 3) {
      const pieces = x.map((one) => one.slice(at, Math.min(at + 3, rows)));
      const y = Conv1dStream.pushAll(all, concatRows(pieces) as Tensor<"f32">, { last: at + 3 > rows });
      const values = [...(await y.toFloat32Array())];
      for (const part of parts) part.push(...values.splice(0, (5 * y.shape[0]!) / streams));
    }
    for (const [i, one] of x.entries()) {
      using whole = conv1d(one, weight, options);
      expect(Float32Array.from(parts[i]!)).toEqual(await whole.toFloat32Array());
    }
  });

  test("streams that differ are not pushed together", () => {
    const weight = device.zeros([4, 8, 3]);
    const pushed = new Conv1dStream(weight, { padding: "symmetric" });
    pushed.push(device.zeros([1, 8]));
    const stream = () => new Conv1dStream(weight, { padding: "symmetric" });
    const x = device.zeros([2, 8]);
    for (const streams of [
      [],
      null,
      [stream(), pushed],
      [stream(), new Conv1dStream(device.zeros([4, 8, 3]), { padding: "symmetric" })],
      [stream(), new Conv1dStream(weight)],
      [stream(), new Conv1dStream(weight, { padding: "symmetric", activation: "relu" })],
      [stream(), {}],
      new Array(65).fill(stream()),
    ])
      expect(() => Conv1dStream.pushAll(streams as Conv1dStream[], x)).toThrowError(code("INVALID_ARGUMENT"));
    expect(Conv1dStream.pushAll([stream(), stream()], x).shape).toEqual([0, 4]);
  });

  test("bad input is refused before anything runs", () => {
    const x = device.zeros([6, 8]);
    const w = device.zeros([4, 8, 3]);
    const grouped = device.zeros([4, 4, 3]);
    // @ts-expect-error x is a matrix
    expect(() => conv1d(device.zeros([8]), w)).toThrowError(code("SHAPE_MISMATCH"));
    // @ts-expect-error w takes 8 channels
    expect(() => conv1d(device.zeros([6, 7]), w)).toThrowError(code("SHAPE_MISMATCH"));
    // @ts-expect-error w takes 4 channels
    expect(() => conv1d(x, grouped)).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => conv1d(x, device.zeros([4, 8, 0]))).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => conv1d(x, device.zeros([4, 8]) as never)).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => conv1d(x, device.zeros([4, 8, 3], "i32") as never)).toThrowError(code("DTYPE_MISMATCH"));
    expect(() => conv1d(x, w, { groups: 3 })).toThrowError(code("INVALID_ARGUMENT"));
    for (const options of [{ dilation: 0 }, { stride: 0 }, { groups: 0 }, { padding: [-1, 0] as const }])
      expect(() => conv1d(x, w, options)).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => conv1d(x, w, { bias: device.zeros([3]) })).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => conv1d(x, w, { residual: device.zeros([5, 4]) })).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => conv1d(x, w, { snake: device.zeros([8]) })).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => conv1d(x, w, { snake: device.zeros([4], "i32") as never })).toThrowError(code("DTYPE_MISMATCH"));
    expect(() => conv1d(x, w, { snake: device.zeros([4]), activation: "relu" })).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => conv1d(x, w, { state: device.zeros([3, 8]) })).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => conv1d(x, w, { state: x.slice(0, 2) as Tensor<"f32"> })).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => conv1d(x, packConv1d(grouped, { groups: 1 }), { groups: 2 })).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => packConv1d(device.zeros([8, 1, 3]), { groups: 8 })).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => packConv1d(w, { groups: 3 })).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => new Conv1dStream(w, { padding: [3, 0] })).toThrowError(code("INVALID_ARGUMENT"));
  });
});
