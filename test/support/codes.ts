// Packed weights of random codes: every stream of bits is one.
import {
  type AffineScale,
  type CodeBits,
  type CodesOf,
  packWeight,
  packWeights,
  type ScaleDType,
} from "../../lib/ops/linear.js";
import type { Device, Tensor } from "../../lib/tensor/tensor.js";
import { randomArray } from "./numbers.js";

/** How the codes of a weight are stored. */
export interface CodeForm<B extends CodeBits = CodeBits> {
  readonly bits: B;
  /** Elements of a row that share a scale. */
  readonly group: 32 | 64 | 128;
  readonly scales?: ScaleDType;
  /** Without biases, codes stand for numbers around 0. */
  readonly biases?: boolean;
}

/** The codes `[n, k·bits/8]` with their scales, the same for the same seed. */
export function randomCodes<B extends CodeBits>(device: Device, form: CodeForm<B>, n: number, k: number, seed: number) {
  const { bits, group, scales = "f32", biases = true } = form;
  const [half, count, shape] = [2 ** (bits - 1), (n * k) / group, [n, k / group]] as const;
  const codes = device.tensor(
    Uint8Array.from(randomArray((n * k * bits) / 8, seed), (v) => (v + 1) * 128),
    [n, (k * bits) / 8],
    "u8",
  ) as Tensor<"u8", readonly [number, number]>;
  const tensor = (values: Float32Array) => device.tensor(values, shape, scales) as Tensor<ScaleDType>;
  const scale = tensor(randomArray(count, seed + 1).map((v) => (0.1 + Math.abs(v)) / half));
  const bias = biases ? tensor(randomArray(count, seed + 2)) : undefined;
  return { codes, options: { bits, scale, bias } as AffineScale<B> };
}

export function codeWeight<B extends CodeBits>(device: Device, form: CodeForm<B>, n: number, k: number, seed: number) {
  const { codes, options } = randomCodes(device, form, n, k, seed);
  return packWeight(codes, options);
}

/** The weights `[seeds.length, n, k]` of experts, each with the codes that its seed gives. */
export function codeExperts(device: Device, form: CodeForm, n: number, k: number, seeds: readonly number[]) {
  const all = seeds.map((seed) => randomCodes(device, form, n, k, seed));
  const biases = all.flatMap(({ options: { bias } }) => (bias ? [bias] : []));
  return packWeights(
    all.map(({ codes }) => codes),
    {
      bits: form.bits,
      scales: all.map(({ options }) => options.scale),
      ...(biases.length > 0 ? { biases } : {}),
    } as never,
  );
}

/** A form of each dtype of codes. */
export const codeForms = {
  q4: { bits: 4, group: 32, scales: "bf16" },
  q8: { bits: 8, group: 64, scales: "f16", biases: false },
} as const satisfies Record<CodesOf<CodeBits>, CodeForm>;
