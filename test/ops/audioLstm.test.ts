import { describe, expect, test } from "vitest";
import { lstm } from "../../lib/ops/audio.js";
import { packWeight } from "../../lib/ops/linear.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { allDevices } from "../support/devices.js";
import { code } from "../support/errors.js";
import { readGolden } from "../support/golden.js";
import { bf16, randomArray, relativeError, uniform } from "../support/numbers.js";

interface Cell {
  wIh: Float32Array;
  wHh: Float32Array;
  bIh: Float32Array;
  bHh: Float32Array;
}

const sigmoid = (v: number) => 1 / (1 + Math.exp(-v));

/** Advances h and c through the rows of x, in f64. */
function referenceLstm(x: Float32Array, cell: Cell, h: Float64Array, c: Float64Array): Float64Array {
  const hidden = h.length;
  const inputs = cell.wIh.length / (4 * hidden);
  const steps = x.length / inputs;
  const y = new Float64Array(steps * hidden);
  for (let t = 0; t < steps; t++) {
    const gates = Float64Array.from({ length: 4 * hidden }, (_, n) => {
      let sum = cell.bIh[n]! + cell.bHh[n]!;
      for (let k = 0; k < inputs; k++) sum += cell.wIh[n * inputs + k]! * x[t * inputs + k]!;
      for (let k = 0; k < hidden; k++) sum += cell.wHh[n * hidden + k]! * h[k]!;
      return sum;
    });
    for (let n = 0; n < hidden; n++) {
      const [i, f, g, o] = [0, 1, 2, 3].map((gate) => gates[gate * hidden + n]!) as [number, number, number, number];
      c[n] = sigmoid(f) * c[n]! + sigmoid(i) * Math.tanh(g);
      h[n] = sigmoid(o) * Math.tanh(c[n]!);
    }
    y.set(h, t * hidden);
  }
  return y;
}

function randomCell(inputs: number, hidden: number): Cell {
  const [wIh, wHh, bIh, bHh] = [4 * hidden * inputs, 4 * hidden * hidden, 4 * hidden, 4 * hidden].map((n, i) =>
    randomArray(n, i + 10, n > 4 * hidden ? 2 / Math.sqrt(hidden) : 1).map(bf16),
  );
  return { wIh: wIh!, wHh: wHh!, bIh: bIh!, bHh: bHh! };
}

describe.each(allDevices)("lstm on $name", (device) => {
  const tensors = (cell: Cell, dtype: "f32" | "bf16" = "f32") => {
    const gates = cell.bIh.length;
    return {
      wIh: device.tensor(cell.wIh, [gates, cell.wIh.length / gates], dtype),
      wHh: device.tensor(cell.wHh, [gates, gates / 4], dtype),
      bIh: device.tensor(cell.bIh, [gates], dtype),
      bHh: device.tensor(cell.bHh, [gates], dtype),
    };
  };

  test.each([
    [1, 1, 1],
    [7, 5, 3],
    [5, 24, 32],
    [4, 16, 100],
    [3, 40, 160],
    [0, 8, 16],
  ])("%i steps, %i -> %i, match the definition", async (steps, inputs, hidden) => {
    const cell = randomCell(inputs, hidden);
    const x = randomArray(steps * inputs, 1).map(bf16);
    const [h0, c0] = [randomArray(hidden, 2), randomArray(hidden, 3)];
    const [hEnd, cEnd] = [Float64Array.from(h0), Float64Array.from(c0)];
    const expected = referenceLstm(x, cell, hEnd, cEnd);
    for (const [dtype, weightDtype] of [
      ["f32", "f32"],
      ["f32", "bf16"],
      ["bf16", "bf16"],
    ] as const) {
      const input = device.tensor(x, [steps, inputs], dtype);
      const parameters = tensors(cell, weightDtype);
      const [h, c] = [device.tensor(h0, [hidden]), device.tensor(c0, [hidden])];
      using y = lstm(input, { ...parameters, h, c });
      expect(y.shape).toEqual([steps, hidden]);
      const got = await y.toFloat32Array();
      expect(relativeError(got, expected)).toBeLessThan(dtype === "f32" ? 2e-6 : 4e-3);
      expect(relativeError(await h.toFloat32Array(), hEnd)).toBeLessThan(2e-6);
      expect(relativeError(await c.toFloat32Array(), cEnd)).toBeLessThan(2e-6);
      const packed = {
        wIh: packWeight(parameters.wIh),
        wHh: hidden % 16 ? parameters.wHh : packWeight(parameters.wHh),
      };
      const state = { h: device.tensor(h0, [hidden]), c: device.tensor(c0, [hidden]) };
      using same = lstm(input, { ...parameters, ...packed, ...state });
      expect(await same.toFloat32Array()).toEqual(got);
    }
  });

  test.each([[32], [50]])("cut anywhere, it gives the same bits as the whole; hidden size %i", async (hidden) => {
    const [steps, inputs] = [30, 20];
    const parameters = tensors(randomCell(inputs, hidden));
    const x = device.tensor(randomArray(steps * inputs, 1), [steps, inputs]);
    const state = () => ({ h: device.zeros([hidden]), c: device.zeros([hidden]) });
    using whole = lstm(x, { ...parameters, ...state() });
    const next = uniform(3);
    const carried = state();
    const got: number[] = [];
    for (let t = 0, size = 0; t < steps; t += size, size = Math.floor((next() + 1) * 4)) {
      using y = lstm(x.slice(t, Math.min(steps, t + size)) as Tensor<"f32">, { ...parameters, ...carried });
      got.push(...(await y.toFloat32Array()));
    }
    expect(Float32Array.from(got)).toEqual(await whole.toFloat32Array());
  });

  test.each([
    [1, 2, 1, 8, 16],
    [9, 1, 5, 24, 48],
    [3, 4, 1, 6, 10],
    [2, 0, 1, 8, 16],
  ])("%i streams of %i steps give the bits of each by itself", async (streams, steps, packs, inputs, hidden) => {
    const cell = randomCell(inputs, hidden);
    for (const [dtype, weightDtype] of [
      ["f32", "f32"],
      ["f32", "bf16"],
      ["bf16", "f32"],
      ["bf16", "bf16"],
    ] as const) {
      const parameters = tensors(cell, weightDtype);
      if (packs > 1) Object.assign(parameters, { wHh: packWeight(parameters.wHh) });
      const x = device.tensor(randomArray(streams * steps * inputs, 1), [streams * steps, inputs], dtype);
      const states = (seed: number) =>
        Array.from({ length: streams }, (_, i) => device.tensor(randomArray(hidden, seed + i), [hidden]));
      const [h, c] = [states(20), states(40)];
      using y = lstm(x, { ...parameters, h, c });
      const got = await y.toFloat32Array();
      const alone = { h: states(20), c: states(40) };
      for (let i = 0; i < streams; i++) {
        using one = lstm(x.slice(i * steps, (i + 1) * steps) as Tensor<typeof dtype>, {
          ...parameters,
          h: alone.h[i]!,
          c: alone.c[i]!,
        });
        expect(got.subarray(i * steps * hidden, (i + 1) * steps * hidden)).toEqual(await one.toFloat32Array());
        expect(await h[i]!.toFloat32Array()).toEqual(await alone.h[i]!.toFloat32Array());
        expect(await c[i]!.toFloat32Array()).toEqual(await alone.c[i]!.toFloat32Array());
      }
    }
  });

  test("streams that advance together must have as many rows and states of their own", () => {
    const parameters = tensors(randomCell(4, 16));
    const zeros = (count: number) => Array.from({ length: count }, () => device.zeros([16]));
    const run = (h: readonly Tensor<"f32">[], c: readonly Tensor<"f32">[]) =>
      lstm(device.zeros([6, 4]), { ...parameters, h, c });
    expect(() => run(zeros(4), zeros(4))).toThrowError(/x must have as many rows for each of the 4 states/);
    expect(() => run(zeros(2), zeros(3))).toThrowError(/c must hold as many states as h, 2, got 3/);
    expect(() => run([], [])).toThrowError(/h must hold at least one state/);
    const [h, c] = [zeros(2), zeros(2)];
    expect(() => run([h[0]!, h[0]!], c)).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => run(h, [c[0]!, h[1]!])).toThrowError(code("INVALID_ARGUMENT"));
    expect(run(h, c).shape).toEqual([6, 16]);
  });

  test("missing biases are zero", async () => {
    const cell = randomCell(6, 16);
    const x = randomArray(12, 1);
    const { wIh, wHh } = tensors(cell);
    using y = lstm(device.tensor(x, [2, 6]), { wIh, wHh, h: device.zeros([16]), c: device.zeros([16]) });
    const zeros = new Float32Array(64);
    const expected = referenceLstm(x, { ...cell, bIh: zeros, bHh: zeros }, new Float64Array(16), new Float64Array(16));
    expect(relativeError(await y.toFloat32Array(), expected)).toBeLessThan(2e-6);
  });

  test.each(["codec_decoder_24k", "codec_decoder_16k"])("%s: two layers match the published model", async (name) => {
    const golden = readGolden(name);
    const [, channels, steps] = golden.tensor("expected.latents").shape as [number, number, number];
    const part = (suffix: string) => golden.f32(`weight.decoder.mem_layers.0.${suffix}`);
    const columns = golden.f32("expected.latents");
    let rows = columns.map((_, i) => columns[(i % channels) * steps + Math.floor(i / channels)]!);
    for (const layer of [1, 2]) {
      const suffixes = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"];
      const [wIh, wHh, bIh, bHh] = suffixes.map((s) => part(`lstm_list${layer}.0.${s}`));
      const parameters = tensors({ wIh: wIh!, wHh: wHh!, bIh: bIh!, bHh: bHh! });
      const state = { h: device.zeros([channels]), c: device.zeros([channels]) };
      using y = lstm(device.tensor(rows, [steps, channels]), { ...parameters, ...state });
      const values = await y.toFloat32Array();
      const [gain, shift] = [part(`ln${layer}.weight`), part(`ln${layer}.bias`)];
      rows = values.map((v, i) => {
        const row = values.subarray(i - (i % channels), i - (i % channels) + channels);
        const mean = row.reduce((s, e) => s + e, 0) / channels;
        const variance = row.reduce((s, e) => s + (e - mean) ** 2, 0) / channels;
        return ((v - mean) / Math.sqrt(variance + 1e-5)) * gain[i % channels]! + shift[i % channels]!;
      });
    }
    const expected = golden.f32("expected.glstm");
    const transposed = expected.map((_, i) => rows[(i % steps) * channels + Math.floor(i / steps)]!);
    expect(relativeError(transposed, expected)).toBeLessThan(1e-5);
  });

  test("bad input is refused before anything runs", () => {
    const x = device.zeros([2, 6]);
    const good = () => ({
      wIh: device.zeros([80, 6]),
      wHh: device.zeros([80, 20]),
      h: device.zeros([20]),
      c: device.zeros([20]),
    });
    // @ts-expect-error wIh takes 6 columns
    expect(() => lstm(device.zeros([2, 5]), good())).toThrowError(code("SHAPE_MISMATCH"));
    // @ts-expect-error wIh has 80 rows
    expect(() => lstm(x, { ...good(), wHh: device.zeros([60, 20]) })).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => lstm(x, { ...good(), bIh: device.zeros([20]) })).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => lstm(x, { ...good(), h: device.zeros([1, 20]) as never })).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => lstm(x, { ...good(), c: device.zeros([20], "bf16") as never })).toThrowError(code("DTYPE_MISMATCH"));
    expect(() => lstm(x, { ...good(), wIh: device.zeros([80, 6], "i32") as never })).toThrowError(
      code("DTYPE_MISMATCH"),
    );
    expect(() => lstm(x, { ...good(), wHh: packWeight(device.zeros([80, 20])) })).toThrowError(
      code("INVALID_ARGUMENT"),
    );
    const shared = device.zeros([20]);
    expect(() => lstm(x, { ...good(), h: shared, c: shared })).toThrowError(code("INVALID_ARGUMENT"));
  });
});
