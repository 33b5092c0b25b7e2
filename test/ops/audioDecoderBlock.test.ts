import { describe, expect, test } from "vitest";
import { conv1d, convTranspose1d, snake } from "../../lib/ops/audio.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { allDevices } from "../support/devices.js";
import { type Golden, readGolden } from "../support/golden.js";
import { relativeError } from "../support/numbers.js";

/** A golden tensor `[1, C, T]`, transposed to `[T, C]`. */
function timeMajor(golden: Golden, name: string): { values: Float32Array; shape: [number, number] } {
  const { values, shape } = golden.tensor(name);
  const [, channels, rows] = shape as [number, number, number];
  const out = Float32Array.from(
    { length: rows * channels },
    (_, i) => values[(i % channels) * rows + Math.floor(i / channels)]!,
  );
  return { values: out, shape: [rows, channels] };
}

/** A folded weight norm: g · v / ‖v‖ with the norm over all dimensions but the first. */
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
    "%s: Snake, transposed convolution and residual units match the published model",
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
