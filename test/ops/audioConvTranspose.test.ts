import { describe, expect, test } from "vitest";
import { type ConvTranspose1dGeometry, convTranspose1d, packConv1d, packConvTranspose1d } from "../../lib/ops/audio.js";
import { ConvTranspose1dStream } from "../../lib/ops/convStream.js";
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
    "%o with %o matches the definition",
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

  test.each(transposedCases)("%o with %o in pieces equals the whole", async (shape, geometry) => {
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

  test("a long sequence that is processed in blocks has the same bits", async () => {
    const [rows, inputs, outputs, taps] = [700, 8, 96, 20];
    const x = device.tensor(randomArray(rows * inputs, 1), [rows, inputs]);
    const weight = packConvTranspose1d(device.tensor(randomArray(inputs * outputs * taps, 2), [inputs, outputs, taps]));
    using whole = convTranspose1d(x, weight, { stride: 3 });
    using stream = new ConvTranspose1dStream(weight, { stride: 3 });
    const got = await streamed(x, (piece, o) => stream.push(piece, o), 5);
    expect(got).toEqual(await whole.toFloat32Array());
  });

  test("bad input is refused before anything runs", () => {
    const x = device.zeros([6, 8]);
    const w = device.zeros([8, 4, 3]);
    // @ts-expect-error w takes 8 channels
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
    // @ts-expect-error the weight was packed for conv1d
    expect(() => convTranspose1d(x, packed, { stride: 1 })).toThrowError(code("INVALID_ARGUMENT"));
  });
});
