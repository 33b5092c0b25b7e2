import { describe, expect, test } from "vitest";
import {
  type Conv1dGeometry,
  type ConvTranspose1dGeometry,
  conv1d,
  convTranspose1d,
  packConv1d,
  packConvTranspose1d,
  snake,
} from "../../lib/ops/audio.js";
import { Conv1dStream, ConvTranspose1dStream } from "../../lib/ops/audioStream.js";
import { add } from "../../lib/ops/elementwise.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { allDevices } from "../support/devices.js";
import { type Golden, readGolden } from "../support/golden.js";
import { bf16, randomArray, relativeError, uniform } from "../support/numbers.js";

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

function referenceConvTranspose1d(
  x: Float32Array,
  w: Float32Array,
  { rows, inputs, outputs, taps }: Shape1d,
  { stride, padding = 0, outputPadding = 0 }: ConvTranspose1dGeometry,
): Float64Array {
  const outRows = Math.max(0, (rows - 1) * stride + taps - 2 * padding + outputPadding);
  const y = new Float64Array(outRows * outputs);
  for (let t = 0; t < rows; t++)
    for (let j = 0; j < taps; j++) {
      const row = t * stride + j - padding;
      if (row < 0 || row >= outRows) continue;
      for (let o = 0; o < outputs; o++)
        for (let c = 0; c < inputs; c++) y[row * outputs + o]! += w[(c * outputs + o) * taps + j]! * x[t * inputs + c]!;
    }
  return y;
}

/** Pushes x through a stream in random pieces (the first two empty and of one row) and returns all that came out. */
async function streamed(
  x: Tensor<"f32">,
  push: (piece: Tensor<"f32">, options: { last: boolean }) => Tensor,
  seed: number,
): Promise<Float32Array> {
  const rows = x.shape[0]!;
  const next = uniform(seed);
  const parts: Float32Array[] = [];
  const take = async (from: number, to: number, last: boolean) => {
    using piece = x.slice(from, to);
    using y = push(piece as Tensor<"f32">, { last });
    parts.push(await y.toFloat32Array());
  };
  await take(0, 0, false);
  for (let t = 0, size = 1; t < rows; t += size, size = Math.floor((next() + 1) * 5))
    await take(t, Math.min(rows, t + size), false);
  await take(rows, rows, true);
  return Float32Array.from(parts.flatMap((p) => [...p]));
}

/** `values`, but `channel` of its `channels` as in `others`. */
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
  test.each(convCases)("%o with %o is the definition", async (shape, geometry) => {
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

  test.each(convCases)("%o with %o in pieces is the whole", async (shape, geometry) => {
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

  test.each(convCases)("%o with %o and Snake is both operations, in pieces too", async (shape, geometry) => {
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
      // 0 and negative ones, too; and of one channel so large that sin takes its long way
      const alphas = randomArray(outputs, 4).map((v, i) => (i === 0 ? 0 : i === 3 ? 1e6 : 8 * v));
      const alpha = device.tensor(alphas, [outputs], alphaDtype);
      const options = { ...geometry, bias, snake: alpha };
      using y = conv1d(x, weight, options);
      const got = await y.toFloat32Array();
      // Of bf16 rows the parts are made in f32: the whole rounds once.
      using sums = conv1d(device.tensor(values, [rows, inputs]), weight, { ...geometry, bias });
      const parts = await snake(sums, alpha).toFloat32Array();
      if (dtype === "f32") expect(got).toEqual(parts);
      // But of the channel of 1e6, where the last bit of a sum decides the sine.
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

  test("a causal stream with explicit state takes T rows and gives T rows", async () => {
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

  test("bad input is refused before anything runs", () => {
    const code = (code: string) => expect.objectContaining({ code });
    const x = device.zeros([6, 8]);
    const w = device.zeros([4, 8, 3]);
    const grouped = device.zeros([4, 4, 3]);
    expect(() => conv1d(device.zeros([8]), w)).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => conv1d(device.zeros([6, 7]), w)).toThrowError(code("SHAPE_MISMATCH"));
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

const transposedCases: [Shape1d, ConvTranspose1dGeometry][] = [
  [{ rows: 9, inputs: 48, outputs: 24, taps: 8 }, { stride: 8 }],
  [{ rows: 9, inputs: 7, outputs: 5, taps: 5 }, { stride: 5 }],
  [
    { rows: 9, inputs: 20, outputs: 10, taps: 16 },
    { stride: 8, padding: 4 },
  ],
  [
    { rows: 9, inputs: 20, outputs: 17, taps: 10 },
    { stride: 5, padding: 3, outputPadding: 1 },
  ],
  [{ rows: 12, inputs: 3, outputs: 33, taps: 11 }, { stride: 2 }],
  [
    { rows: 12, inputs: 3, outputs: 4, taps: 3 },
    { stride: 1, padding: 1 },
  ],
  [
    { rows: 6, inputs: 3, outputs: 4, taps: 2 },
    { stride: 5, outputPadding: 3 },
  ],
  [
    { rows: 5, inputs: 4, outputs: 4, taps: 4 },
    { stride: 4, outputPadding: 2 },
  ],
  [
    { rows: 3, inputs: 4, outputs: 4, taps: 9 },
    { stride: 3, padding: 1, outputPadding: 2 },
  ],
];

describe.each(allDevices)("convTranspose1d on $name", (device) => {
  test.each([...transposedCases, [{ rows: 0, inputs: 4, outputs: 4, taps: 4 }, { stride: 2 }] as const])(
    "%o with %o is the definition",
    async (shape, geometry) => {
      const { rows, inputs, outputs, taps } = shape;
      const x = randomArray(rows * inputs, 1).map(bf16);
      const w = randomArray(inputs * outputs * taps, 2).map(bf16);
      const bias = randomArray(outputs, 3).map(bf16);
      const plain = rows > 0 ? referenceConvTranspose1d(x, w, shape, geometry) : new Float64Array(0);
      const expected = plain.map((v, i) => v + bias[i % outputs]!);
      for (const [dtype, weightDtype] of [
        ["f32", "f32"],
        ["f32", "bf16"],
        ["bf16", "bf16"],
      ] as const) {
        const input = device.tensor(x, [rows, inputs], dtype);
        const weight = device.tensor(w, [inputs, outputs, taps], weightDtype);
        const options = { ...geometry, bias: device.tensor(bias, [outputs], weightDtype) };
        using y = convTranspose1d(input, weight, options);
        expect(y.shape).toEqual([plain.length / outputs, outputs]);
        const got = await y.toFloat32Array();
        expect(relativeError(got, expected)).toBeLessThan(dtype === "f32" ? 1e-6 : 4e-3);
        using bare = convTranspose1d(input, packConvTranspose1d(weight), geometry);
        expect(relativeError(await bare.toFloat32Array(), plain)).toBeLessThan(dtype === "f32" ? 1e-6 : 4e-3);
        using same = convTranspose1d(input, packConvTranspose1d(weight), options);
        expect(await same.toFloat32Array()).toEqual(got);
      }
    },
  );

  test.each(transposedCases)("%o with %o in pieces is the whole", async (shape, geometry) => {
    const { rows, inputs, outputs, taps } = shape;
    const x = device.tensor(randomArray(rows * inputs, 1), [rows, inputs]);
    const weight = device.tensor(randomArray(inputs * outputs * taps, 2), [inputs, outputs, taps]);
    const options = { ...geometry, bias: device.tensor(randomArray(outputs, 3), [outputs]) };
    using whole = convTranspose1d(x, weight, options);
    for (const seed of [1, 2]) {
      using stream = new ConvTranspose1dStream(weight, options);
      const got = await streamed(x, (piece, o) => stream.push(piece, o), seed);
      expect(got).toEqual(await whole.toFloat32Array());
    }
  });

  test("a long sequence is worked off in blocks with the same bits", async () => {
    const [rows, inputs, outputs, taps] = [700, 8, 96, 20];
    const x = device.tensor(randomArray(rows * inputs, 1), [rows, inputs]);
    const weight = packConvTranspose1d(device.tensor(randomArray(inputs * outputs * taps, 2), [inputs, outputs, taps]));
    using whole = convTranspose1d(x, weight, { stride: 3 });
    using stream = new ConvTranspose1dStream(weight, { stride: 3 });
    const got = await streamed(x, (piece, o) => stream.push(piece, o), 5);
    expect(got).toEqual(await whole.toFloat32Array());
  });

  test("bad input is refused before anything runs", () => {
    const code = (code: string) => expect.objectContaining({ code });
    const x = device.zeros([6, 8]);
    const w = device.zeros([8, 4, 3]);
    expect(() => convTranspose1d(device.zeros([6, 4]), w, { stride: 1 })).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => convTranspose1d(x, device.zeros([8, 4]) as never, { stride: 1 })).toThrowError(code("SHAPE_MISMATCH"));
    for (const options of [
      { stride: 0 },
      { stride: 2, padding: -1 },
      { stride: 2, outputPadding: 2 },
      { stride: 1, last: true },
      { stride: 1, padding: 3, state: device.zeros([2, 4]) },
    ])
      expect(() => convTranspose1d(x, w, options)).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => convTranspose1d(x, w, { stride: 1, state: device.zeros([1, 4]) })).toThrowError(
      code("SHAPE_MISMATCH"),
    );
    const half = device.zeros([2, 4], "bf16") as never;
    expect(() => convTranspose1d(x, w, { stride: 1, state: half })).toThrowError(code("DTYPE_MISMATCH"));
    using packed = packConv1d(device.zeros([8, 4, 5]));
    expect(() => convTranspose1d(x, packed, { stride: 1 })).toThrowError(code("INVALID_ARGUMENT"));
  });
});

/** Transposes golden `[1, C, T]` to `[T, C]`. */
function timeMajor(golden: Golden, name: string): { values: Float32Array; shape: [number, number] } {
  const { values, shape } = golden.tensor(name);
  const [, channels, rows] = shape as [number, number, number];
  const out = Float32Array.from(
    { length: rows * channels },
    (_, i) => values[(i % channels) * rows + Math.floor(i / channels)]!,
  );
  return { values: out, shape: [rows, channels] };
}

/** Folds weight norm: g · v / ‖v‖, the norm over all but the first dimension. */
function foldedWeight(golden: Golden, name: string): { values: Float32Array; shape: number[] } {
  const { values: v, shape } = golden.tensor(`${name}.weight_v`);
  const g = golden.f32(`${name}.weight_g`);
  const row = v.length / g.length;
  const values = Float32Array.from(v, (x, i) => {
    const first = Math.floor(i / row);
    const norm = Math.hypot(...Array.from(v.subarray(first * row, (first + 1) * row)));
    return (g[first]! * x) / norm;
  });
  return { values, shape };
}

describe.each(allDevices)("a block of the speech decoder on $name", (device) => {
  test.each([
    ["codec_decoder_24k", { stride: 8 }, [2, 3, 4], "causal"],
    ["codec_decoder_16k", { stride: 8, padding: 4, outputPadding: 0 }, [1, 2, 3], "symmetric"],
  ] as const)(
    "%s: Snake, transposed convolution and residual units are the published ones",
    async (name, up, parts, padding) => {
      const golden = readGolden(name);
      const block = "weight.decoder.model.1.block";
      const weight = (part: string) => {
        const { values, shape } = foldedWeight(golden, part);
        return device.tensor(values, shape as [number, number, number]);
      };
      const vector = (part: string) => device.tensor(golden.f32(part), [golden.f32(part).length]);
      const input = timeMajor(golden, "expected.block0.input");
      let x: Tensor<"f32"> = snake(device.tensor(input.values, input.shape), vector(`${block}.0.alpha`));
      x = convTranspose1d(x, weight(`${block}.1`), { ...up, bias: vector(`${block}.1.bias`) });
      for (const [unit, dilation] of [1, 3, 9].entries()) {
        const [first, second, third] = parts.map((p) => `${block}.${unit + 2}.block.${p}`) as [string, string, string];
        const a = snake(x, vector(`${block}.${unit + 2}.block.0.alpha`));
        const geometry = { dilation, padding, bias: vector(`${first}.bias`), snake: vector(`${second}.alpha`) };
        const b = conv1d(a, weight(first), geometry);
        x = conv1d(b, weight(third), { bias: vector(`${third}.bias`), residual: x });
      }
      const expected = timeMajor(golden, "expected.block0.output");
      expect(x.shape).toEqual(expected.shape);
      expect(relativeError(await x.toFloat32Array(), expected.values)).toBeLessThan(1e-5);
    },
  );
});
