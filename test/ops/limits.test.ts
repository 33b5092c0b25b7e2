// No arguments make a call run for minutes, or compute with numbers that are none.
import { describe, expect, test } from "vitest";
import * as ops from "../../lib/ops/index.js";
import { Device } from "../../lib/tensor/tensor.js";
import { code } from "../support/errors.js";

const device = await Device.open({ backend: "cpu", threads: 1 });
const refused = (run: () => unknown) => expect(run).toThrowError(code("INVALID_ARGUMENT"));

describe("fbank", () => {
  const wave = device.zeros([1 << 17]);

  test("has transforms of at most 65536 points, and 1024 filters", async () => {
    refused(() => ops.fbank(wave, { frameLength: 1 << 17, fftSize: 1 << 17 }));
    refused(() => ops.fbank(wave, { frameLength: 400, fftSize: 1 << 17 }));
    refused(() => ops.fbank(wave, { melBins: 1025 }));
    const frames = ops.fbank(wave, { frameLength: 1 << 16, fftSize: 1 << 16, frameShift: 1 << 16, melBins: 8 });
    expect(frames.shape).toEqual([2, 8]);
    expect(await frames.read()).toHaveLength(16);
  });

  test("does not take more frames than a day of speech has", () => {
    refused(() => ops.fbank(device.zeros([1 << 19]), { frameShift: 1, fftSize: 1 << 15 }));
    // A day at 16 kHz has 8.64 million frames of 512 points, about half of the limit.
    expect((24 * 3600 * 100 * 512) / 2 ** 33).toBeLessThan(0.52);
  });
});

describe("images and grids", () => {
  test("a token grid has at most 8192 a side", () => {
    const x = device.zeros([4, 1]);
    refused(() => ops.interpolateTokens(x, { from: [2, 2], to: [131072, 65536] }));
    refused(() => ops.interpolateTokens(x, { from: [2, 2], to: [1, 8193] }));
    expect(ops.interpolateTokens(x, { from: [2, 2], to: [1, 8192] }).shape).toEqual([8192, 1]);
  });

  test("an image has at most 65536 a side, and 2³⁰ bytes, between the passes too", () => {
    refused(() => ops.resizeBicubic(device.zeros([2, 2, 3], "u8"), [1, 65537]));
    refused(() => ops.resizeBicubic(device.zeros([2, 2, 3], "u8"), [65536, 65536]));
    refused(() => ops.resizeBicubic(device.zeros([65536, 1, 3], "u8"), [1, 65536]));
    refused(() => ops.resizeBicubic(device.zeros([2, 2, 1 << 20], "u8"), [32, 33]));
    expect(ops.resizeBicubic(device.zeros([2, 2, 4], "u8"), [1, 65536]).shape).toEqual([1, 65536, 4]);
  });
});

test("a padding is one of two words, or two numbers of rows", () => {
  const x = device.zeros([4, 1]);
  const w = device.zeros([1, 1, 3]);
  for (const padding of ["left", "", 1, null, [1], [1, 2, 3], [1.5, 0], [0, -1], [0, 2 ** 20 + 1], ["1", 0]]) {
    refused(() => ops.conv1d(x, w, { padding: padding as never }));
    refused(() => new ops.Conv1dStream(w, { padding: padding as never }));
  }
  expect(ops.conv1d(x, w, { padding: [1, 3] }).shape).toEqual([6, 1]);
});

test("taps reach over at most 2²⁰ rows", () => {
  const x = device.zeros([4, 1]);
  refused(() => ops.conv1d(x, device.zeros([1, 1, 3]), { dilation: 2 ** 19 + 1 }));
  refused(() => ops.fsmnMemory(x, device.zeros([1, 34]), { leftOrder: 0, rightOrder: 33, rightStride: 2 ** 15 }));
  expect(ops.conv1d(x, device.zeros([1, 1, 3]), { dilation: 2 ** 19 }).shape).toEqual([4, 1]);
});

test("a router has at most 65536 experts of a kind, and 1024 picks", () => {
  const options = { zeroExperts: 0, scale: 1 };
  const x = device.zeros([1, 1]);
  refused(() => ops.router(x, device.zeros([65537, 1]), undefined, { ...options, experts: 65537, topK: 1 }));
  refused(() => ops.router(x, device.zeros([2000, 1]), undefined, { ...options, experts: 2000, topK: 1025 }));
});

describe("numbers", () => {
  const x = device.zeros([2, 8]);
  const heads = device.zeros([2, 1, 8]);
  const cuSeqlens = device.tensor([0, 2], [2], "i32");
  const ids = device.zeros([2], "i32");
  const bad = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];

  test.each<[string, (value: number) => unknown]>([
    ["eps", (eps) => ops.rmsNorm(x, device.zeros([8]), { eps })],
    ["theta", (theta) => ops.rope(heads, ids, { theta })],
    ["the scale of attention", (scale) => ops.attention(heads, heads, heads, { cuSeqlens, scale })],
    [
      "the scale of a router",
      (scale) => ops.router(x, device.zeros([3, 8]), undefined, { topK: 1, experts: 3, zeroExperts: 0, scale }),
    ],
    [
      "the scale of a cache row",
      (scale) =>
        ops.mlaCacheWrite({
          ...{ kv: x, normWeight: device.zeros([4]), positions: ids, slots: ids, theta: 1e4, scale },
          cache: device.zeros([1, 2, 8]),
        }),
    ],
    ["preemphasis", (preemphasis) => ops.fbank(device.zeros([800]), { preemphasis })],
    ["sampleRate", (sampleRate) => ops.fbank(device.zeros([800]), { sampleRate })],
    ["penalty", (penalty) => ops.repetitionPenalty(x, device.zeros([2, 1], "i32"), penalty)],
    ["mean", (mean) => ops.patchify(device.zeros([2, 2, 3], "u8"), { patch: 2, mean: [0, mean, 0], std: [1, 1, 1] })],
    ["std", (std) => ops.patchify(device.zeros([2, 2, 3], "u8"), { patch: 2, mean: [0, 0, 0], std: [1, std, 1] })],
    ["temperature", (temperature) => ops.sample(x, { seed: 1, step: 0, temperature })],
  ])("%s is finite", (_, run) => {
    for (const value of bad) refused(() => run(value));
  });

  test.each<[string, (value: number) => unknown]>([
    ["padId", (padId) => ops.promptEmbedding({ ...prompt(), padId })],
    ["audioPadId", (audioPadId) => ops.promptEmbedding({ ...prompt(), audioPadId })],
    ["imagePadId", (imagePadId) => ops.promptEmbedding({ ...prompt(), imagePadId })],
  ])("%s is an i32", (_, run) => {
    for (const value of [2 ** 31, 2 ** 32 + 3, -(2 ** 31) - 1, 1.5, Number.NaN]) refused(() => run(value));
    run(3);
  });
  const prompt = () => ({ textTable: x, codecTables: [], textIds: ids, codecIds: device.zeros([2, 0], "i32") });

  test.each<[string, (value: number) => unknown]>([
    ["ropeDim", (ropeDim) => ops.rope(heads, ids, { theta: 1, ropeDim })],
    ["dstRow", (row) => ops.copyRows(x, x.slice(0, 1), row)],
    ["lengths", (length) => ops.maskRows(x, [length])],
    ["widths", (width) => ops.splitColumns(x, [width, 8 - width])],
    ["seed", (seed) => ops.sample(x, { seed, step: 0 })],
    ["step", (step) => ops.sample(x, { seed: 1, step })],
    ["topK", (topK) => ops.sample(x, { seed: 1, step: 0, topK })],
    ["an allowed id", (id) => ops.argmax(x, { allowed: [[id, 8]] })],
    ["dilation", (dilation) => ops.conv1d(x, device.zeros([8, 8, 1]), { dilation })],
    ["stride", (stride) => ops.convTranspose1d(x, device.zeros([8, 8, 1]), { stride })],
  ])("%s is an integer", (_, run) => {
    for (const value of [0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) refused(() => run(value));
  });
});
