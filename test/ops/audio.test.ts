import { describe, expect, test } from "vitest";
import {
  cmvn,
  codecEmbedding,
  conv1d,
  convTranspose1d,
  type FbankOptions,
  fbank,
  foldWeightNorm,
  fsmnMemory,
  lstm,
  packConv1d,
  snake,
  splice,
} from "../../lib/ops/audio.js";
import { FbankStream, FsmnMemoryStream, SpliceStream } from "../../lib/ops/audioStream.js";
import { Conv1dStream, ConvTranspose1dStream } from "../../lib/ops/convStream.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { allDevices, devices } from "../support/devices.js";
import { code } from "../support/errors.js";
import { readGolden } from "../support/golden.js";
import { bf16, randomArray, relativeError } from "../support/numbers.js";
import { concatenated, pieces } from "../support/streams.js";

/** The definition in f64, with a naive discrete Fourier transform. */
function referenceFbank(wave: Float32Array, o: Required<FbankOptions>): Float64Array {
  const high = o.highHz > 0 ? o.highHz : o.sampleRate / 2 + o.highHz;
  const mel = (hz: number) => 1127 * Math.log(1 + hz / 700);
  const step = (mel(high) - mel(o.lowHz)) / (o.melBins + 1);
  const frames = wave.length < o.frameLength ? 0 : Math.floor((wave.length - o.frameLength) / o.frameShift) + 1;
  const out = new Float64Array(frames * o.melBins);
  for (let t = 0; t < frames; t++) {
    const x = Float64Array.from(wave.subarray(t * o.frameShift, t * o.frameShift + o.frameLength));
    const mean = o.removeDc ? x.reduce((s, v) => s + v, 0) / x.length : 0;
    const windowed = x.map((v, i) => {
      const phase = (2 * Math.PI * i) / (x.length - 1);
      const hann = 0.5 - 0.5 * Math.cos(phase);
      const w = { povey: hann ** 0.85, hann, hamming: 0.54 - 0.46 * Math.cos(phase) }[o.window];
      return (v - mean - o.preemphasis * (x[Math.max(0, i - 1)]! - mean)) * w;
    });
    for (let k = 0; k < o.fftSize / 2; k++) {
      let re = 0;
      let im = 0;
      for (let i = 0; i < windowed.length; i++) {
        re += windowed[i]! * Math.cos((2 * Math.PI * k * i) / o.fftSize);
        im -= windowed[i]! * Math.sin((2 * Math.PI * k * i) / o.fftSize);
      }
      const position = (mel((k * o.sampleRate) / o.fftSize) - mel(o.lowHz)) / step;
      for (let b = 0; b < o.melBins; b++)
        out[t * o.melBins + b]! += Math.max(0, Math.min(position - b, b + 2 - position)) * (re * re + im * im);
    }
  }
  return out.map((e) => Math.log(Math.max(e, 1.1920928955078125e-7)));
}

const published: Required<FbankOptions> = {
  sampleRate: 16000,
  frameLength: 400,
  frameShift: 160,
  fftSize: 512,
  melBins: 80,
  lowHz: 40,
  highHz: -200,
  preemphasis: 0.97,
  removeDc: false,
  window: "povey",
};

describe.each(allDevices)("splice, cmvn and snake on $name", (device) => {
  test.each([
    [{ left: 0, right: 0, stride: 1 }, 5],
    [{ left: 3, right: 1, stride: 2 }, 1],
    [{ left: 3, right: 1, stride: 2 }, 20],
    [{ left: 1, right: 4, stride: 7 }, 23],
    [{ left: 2, right: 2 }, 0],
  ])("splice %o of %i frames repeats the ends, whole and streamed", async (options, frames) => {
    const { left, right, stride = 1 } = options as { left: number; right: number; stride?: number };
    const x = randomArray(frames * 3, 5).map(bf16);
    const rows = Math.ceil(frames / stride);
    const expected: number[] = [];
    for (let t = 0; t < rows; t++)
      for (let i = t * stride - left; i <= t * stride + right; i++) {
        const frame = Math.min(Math.max(i, 0), frames - 1);
        expected.push(...x.subarray(frame * 3, frame * 3 + 3));
      }
    using y = splice(device.tensor(x, [frames, 3], "bf16"), options);
    expect(y.shape).toEqual([rows, 3 * (left + 1 + right)]);
    expect([...(await y.toFloat32Array())]).toEqual(expected);

    using stream = new SpliceStream(device, 3, { ...options, dtype: "bf16" });
    const parts: Tensor[] = [];
    let start = 0;
    const sizes = pieces(frames, 11, 4);
    for (const [i, size] of sizes.entries()) {
      const piece = device.tensor(x.subarray(start * 3, (start + size) * 3), [size, 3], "bf16");
      parts.push(stream.push(piece, { last: i === sizes.length - 1 }));
      start += size;
    }
    expect([...(await concatenated(parts))]).toEqual(expected);
  });

  test.each([
    ["f32", 37],
    ["bf16", 37],
    ["f32", 80],
    ["bf16", 560],
  ] as const)("cmvn and snake in %s, %i channels", async (dtype, columns) => {
    const rows = 5;
    const x = randomArray(rows * columns, 1, 4).map(dtype === "bf16" ? bf16 : (v) => v);
    const a = randomArray(columns, 2);
    const b = randomArray(columns, 3);
    const tolerance = dtype === "bf16" ? 4e-3 : 1e-6;
    const input = device.tensor(x, [rows, columns], dtype);
    using normalised = cmvn(input, device.tensor(a, [columns]), device.tensor(b, [columns]));
    const expected = Float64Array.from(x, (v, i) => (v - a[i % columns]!) * b[i % columns]!);
    expect(relativeError(await normalised.toFloat32Array(), expected)).toBeLessThan(tolerance);
    using y = snake(input, device.tensor(a, [columns]));
    expect(y.dtype).toBe(dtype);
    const alpha = (i: number) => a[i % columns]!;
    const snaked = Float64Array.from(x, (v, i) => v + Math.sin(alpha(i) * v) ** 2 / (alpha(i) + 1e-9));
    expect(relativeError(await y.toFloat32Array(), snaked)).toBeLessThan(tolerance);
  });

  test("snake: alpha 0, large arguments, NaN, any rank", async () => {
    const x = Float32Array.of(2, 3e5, Number.NaN, -1, 0, 7);
    const alpha = [0, 1, 1];
    using y = snake(device.tensor(x, [1, 2, 3]), device.tensor(alpha, [3]));
    const got = await y.toFloat32Array();
    expect(got[2]).toBeNaN();
    got[2] = 0;
    const expected = [2, 3e5 + Math.sin(3e5) ** 2, 0, -1, 0, 7 + Math.sin(7) ** 2];
    expect(relativeError(got, expected)).toBeLessThan(1e-6);
  });

  test("foldWeightNorm scales every row to its norm", async () => {
    const [rows, n] = [5, 300];
    const v = randomArray(rows * n, 1);
    const g = randomArray(rows, 2);
    using w = foldWeightNorm(device.tensor(v, [rows, n, 1]), device.tensor(g, [rows, 1, 1]));
    const norm = (row: number) => Math.hypot(...v.subarray(row * n, (row + 1) * n));
    const expected = Float64Array.from(v, (x, i) => (x * g[Math.floor(i / n)]!) / norm(Math.floor(i / n)));
    expect(relativeError(await w.toFloat32Array(), expected)).toBeLessThan(1e-6);
  });
});

describe.each(allDevices)("codecEmbedding on $name", (device) => {
  test.each(["f32", "bf16"] as const)("sums the books, with tables in %s", async (dtype) => {
    const [frames, books, n, vocabulary, columns] = [9, 3, 10, 64, [40, 18, 5]] as const;
    const [s, a, b] = columns;
    const tables = [vocabulary * s, books * n * a, books * n * b].map((size, i) => randomArray(size, i).map(bf16));
    const codes = (count: number, limit: number, seed: number) =>
      Int32Array.from(randomArray(count, seed), (v) => Math.floor(((v + 1) / 2) * limit));
    const semantic = codes(frames, vocabulary, 7);
    const acoustic = codes(frames * books, n * n, 8);
    using y = codecEmbedding({
      semantic: device.tensor(semantic, [frames], "i32"),
      acoustic: device.tensor(acoustic, [frames, books], "i32"),
      semanticTable: device.tensor(tables[0]!, [vocabulary, s], dtype),
      tableA: device.tensor(tables[1]!, [books, n, a], dtype),
      tableB: device.tensor(tables[2]!, [books, n, b], dtype),
    });
    expect(y.shape).toEqual([frames, s + a + b]);
    const expected: number[] = [];
    for (let t = 0; t < frames; t++) {
      const sum = (table: Float32Array, width: number, id: (code: number) => number) =>
        Array.from({ length: width }, (_, i) => {
          let total = 0;
          for (let q = 0; q < books; q++) total += table[(q * n + id(acoustic[t * books + q]!)) * width + i]!;
          return total;
        });
      expected.push(
        ...tables[0]!.subarray(semantic[t]! * s, semantic[t]! * s + s),
        ...sum(tables[1]!, a, (code) => Math.floor(code / n)),
        ...sum(tables[2]!, b, (code) => code % n),
      );
    }
    expect(relativeError(await y.toFloat32Array(), expected)).toBeLessThan(dtype === "bf16" ? 4e-3 : 1e-6);
  });

  test.each([
    [[64], [0]],
    [[-1], [0]],
    [[0], [100]],
    [[0], [-1]],
  ])("rejects the codes %o %o when the output is read", async (semantic, acoustic) => {
    using y = codecEmbedding({
      semantic: device.tensor(semantic, [1], "i32"),
      acoustic: device.tensor(acoustic, [1, 1], "i32"),
      semanticTable: device.zeros([64, 4]),
      tableA: device.zeros([1, 10, 4]),
      tableB: device.zeros([1, 10, 4]),
    });
    await expect(y.read()).rejects.toMatchObject({ code: "INDEX_OUT_OF_RANGE" });
  });
});

describe.each(allDevices)("audio front end on $name", (device) => {
  const golden = readGolden("audio_features");
  const wave = golden.f32("input.waveform");

  test("fbank and splice match the published features", async () => {
    using features = fbank(device.tensor(wave, [wave.length]));
    expect(features.shape).toEqual(golden.tensor("expected.fbank").shape);
    expect(relativeError(await features.toFloat32Array(), golden.f32("expected.fbank"))).toBeLessThan(1e-5);
    using spliced = splice(features, { left: 7, right: 7, stride: 8 });
    expect(spliced.shape).toEqual(golden.tensor("expected.spliced").shape);
    expect(relativeError(await spliced.toFloat32Array(), golden.f32("expected.spliced"))).toBeLessThan(1e-5);
  });

  test.each<[string, number, FbankOptions]>([
    ["defaults, one frame", 400, {}],
    ["mean removed, other window", 2000, { removeDc: true, window: "hamming", lowHz: 20, highHz: 0 }],
    ["other sizes", 3000, { frameLength: 256, frameShift: 300, fftSize: 256, melBins: 23, window: "hann" }],
    ["long transform", 5000, { sampleRate: 24000, frameLength: 1000, frameShift: 77, fftSize: 2048, preemphasis: 0 }],
    ["no frame", 399, {}],
    ["no sample", 0, {}],
  ])("fbank matches the definition: %s", async (_, samples, options) => {
    const x = randomArray(samples, samples + 1, 8000).map((v) => v + 500);
    using features = fbank(device.tensor(x, [samples]), options);
    const expected = referenceFbank(x, { ...published, ...options });
    const got = await features.toFloat32Array();
    expect(got.length).toBe(expected.length);
    if (got.length > 0) expect(relativeError(got, expected)).toBeLessThan(1e-6);
  });

  test("fbank of silence is the floor, and a NaN sample affects only its own frames", async () => {
    const x = new Float32Array(400 + 160 * 20);
    using silent = fbank(device.tensor(x, [x.length]));
    expect(
      relativeError(await silent.toFloat32Array(), new Float32Array(21 * 80).fill(Math.log(2 ** -23))),
    ).toBeLessThan(1e-6);
    x[5] = Number.NaN;
    using broken = fbank(device.tensor(x, [x.length]));
    const values = await broken.toFloat32Array();
    expect(values.findIndex((v) => !Number.isNaN(v))).toBe(80);
    expect(values.subarray(80).some(Number.isNaN)).toBe(false);
  });

  test.each([1, 159, 400, 2000])(
    "features streamed in pieces of up to %i samples equal those of the whole",
    async (most) => {
      const x = wave.subarray(0, 8123);
      const stream = new FbankStream(device);
      const splicing = new SpliceStream(device, 80, { left: 7, right: 7, stride: 8 });
      const frames: Tensor[] = [];
      const rows: Tensor[] = [];
      let start = 0;
      for (const size of most === 1 ? new Array<number>(900).fill(1) : pieces(x.length, most, most)) {
        frames.push(stream.push(x.subarray(start, start + size)));
        rows.push(splicing.push(frames.at(-1) as Tensor<"f32">));
        start += size;
      }
      rows.push(splicing.push(device.zeros([0, 80]), { last: true }));
      using whole = fbank(device.tensor(x.subarray(0, start), [start]));
      expect(await concatenated(frames)).toEqual(await whole.toFloat32Array());
      using spliced = splice(whole, { left: 7, right: 7, stride: 8 });
      expect(await concatenated(rows)).toEqual(await spliced.toFloat32Array());
      splicing.dispose();
    },
  );

  test("a stream with gaps between its frames skips the same samples as the whole", async () => {
    const options = { frameLength: 64, frameShift: 150, fftSize: 64, melBins: 8 };
    const stream = new FbankStream(device, options);
    const x = wave.subarray(0, 3000);
    const parts: Tensor[] = [];
    let start = 0;
    for (const size of pieces(x.length, 3, 100)) {
      parts.push(stream.push(x.subarray(start, start + size)));
      start += size;
    }
    using whole = fbank(device.tensor(x, [x.length]), options);
    expect(await concatenated(parts)).toEqual(await whole.toFloat32Array());
  });

  test("bad input is refused before anything runs", () => {
    const samples = device.zeros([800]);
    // @ts-expect-error a wave is a vector
    expect(() => fbank(device.zeros([800, 1]))).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => fbank(device.zeros([800], "i32") as never)).toThrowError(code("DTYPE_MISMATCH"));
    for (const options of [
      { fftSize: 500 },
      { fftSize: 256 },
      { frameShift: 0 },
      { frameLength: 1 },
      { melBins: 0 },
      { lowHz: 8000 },
      { highHz: 9000 },
      { lowHz: Number.NaN },
      { sampleRate: 0 },
      { window: "kaiser" as never },
    ])
      expect(() => fbank(samples, options)).toThrowError(code("INVALID_ARGUMENT"));
    const x = device.zeros([4, 8]);
    expect(() => splice(x, { left: -1, right: 0 })).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => splice(x, { left: 1, right: 0, stride: 0 })).toThrowError(code("INVALID_ARGUMENT"));
    // @ts-expect-error x has 8 columns
    expect(() => cmvn(x, device.zeros([7]), device.zeros([8]))).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => cmvn(x, device.zeros([8]), device.zeros([8], "bf16") as never)).toThrowError(code("DTYPE_MISMATCH"));
    // @ts-expect-error x has 8 columns
    expect(() => snake(x, device.zeros([4]))).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => snake(device.zeros([4, 8], "u8") as never, device.zeros([8]))).toThrowError(code("DTYPE_MISMATCH"));
    const tables = {
      semanticTable: device.zeros([4, 2]),
      tableA: device.zeros([3, 5, 2]),
      tableB: device.zeros([3, 4, 2]),
    };
    const ids = { semantic: device.zeros([2], "i32"), acoustic: device.zeros([2, 3], "i32") };
    expect(() => codecEmbedding({ ...ids, ...tables })).toThrowError(code("SHAPE_MISMATCH"));
    samples.dispose();
    expect(() => fbank(samples)).toThrowError(code("DISPOSED"));
  });
});

test("misspelt options are named", () => {
  const device = devices[0]!;
  const [x, vector, w] = [device.zeros([4, 8]), device.zeros([8]), device.zeros([8, 8, 3])];
  const misspelt: [string, string, string, (options: never) => unknown][] = [
    ["ops.fbank", "melbins", "melBins", (o) => fbank(vector, o)],
    ["ops.splice", "lefts", "left", (o) => splice(x, o)],
    ["ops.fsmnMemory", "leftorder", "leftOrder", (o) => fsmnMemory(x, device.zeros([8, 1]), o)],
    ["ops.fsmnMemory: norm", "epsilon", "eps", (o) => fsmnMemory(x, device.zeros([8, 1]), { leftOrder: 0, norm: o })],
    ["ops.codecEmbedding", "tablea", "tableA", (o) => codecEmbedding(o)],
    ["ops.packConv1d", "group", "groups", (o) => packConv1d(w, o)],
    ["ops.conv1d", "activatoin", "activation", (o) => conv1d(x, w, o)],
    ["ops.convTranspose1d", "strides", "stride", (o) => convTranspose1d(x, w, o)],
    ["ops.lstm", "wih", "wIh", (o) => lstm(x, o)],
    ["FbankStream", "window_", "window", (o) => new FbankStream(device, o)],
    ["SpliceStream", "dtypes", "dtype", (o) => new SpliceStream(device, 8, o)],
    ["FsmnMemoryStream", "residuals", "residual", (o) => new FsmnMemoryStream(x, o)],
    ["Conv1dStream", "dilatoin", "dilation", (o) => new Conv1dStream(w, o)],
    ["ConvTranspose1dStream", "pading", "padding", (o) => new ConvTranspose1dStream(w, o)],
    ["SpliceStream.push", "lst", "last", (o) => new SpliceStream(device, 8, { left: 1, right: 1 }).push(x, o)],
    ["FsmnMemoryStream.push", "lst", "last", (o) => new FsmnMemoryStream(x, { leftOrder: 7 }).push(x, undefined, o)],
    ["Conv1dStream.push", "lst", "last", (o) => new Conv1dStream(w).push(x, o)],
    ["ConvTranspose1dStream.push", "lst", "last", (o) => new ConvTranspose1dStream(w, { stride: 1 }).push(x, o)],
  ];
  for (const [where, wrong, right, run] of misspelt)
    expect(() => run({ [wrong]: 1 } as never)).toThrow(`${where} has no option "${wrong}": did you mean "${right}"?`);
});
