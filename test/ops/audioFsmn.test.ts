import { describe, expect, test } from "vitest";
import { cmvn, type FsmnOrders, type FusedLayerNorm, fbank, fsmnMemory } from "../../lib/ops/audio.js";
import { FbankStream, FsmnMemoryStream } from "../../lib/ops/audioStream.js";
import type { Activations } from "../../lib/ops/call.js";
import { linear } from "../../lib/ops/linear.js";
import { layerNorm } from "../../lib/ops/norm.js";
import type { Device, Tensor } from "../../lib/tensor/tensor.js";
import { allDevices, devices } from "../support/devices.js";
import { code } from "../support/errors.js";
import { type Golden, readGolden } from "../support/golden.js";
import { bf16, randomArray, relativeError } from "../support/numbers.js";

function referenceMemory(
  z: Float32Array,
  w: Float32Array,
  channels: number,
  { leftOrder, rightOrder = 0, leftStride = 1, rightStride = 1 }: FsmnOrders,
  residual?: Float32Array,
): Float64Array {
  const offsets: number[] = [];
  for (let k = leftOrder; k > 0; k--) offsets.push(-k * leftStride);
  for (let k = 0; k <= rightOrder; k++) offsets.push(k * rightStride);
  return Float64Array.from(z, (_, i) => {
    let sum = residual?.[i] ?? 0;
    offsets.forEach((o, k) => {
      sum += w[(i % channels) * offsets.length + k]! * (z[i + o * channels] ?? 0);
    });
    return sum;
  });
}

const cases: [number, number, FsmnOrders][] = [
  [40, 48, { leftOrder: 10 }],
  [40, 37, { leftOrder: 10, rightOrder: 1 }],
  [150, 16, { leftOrder: 4, rightOrder: 3, leftStride: 2, rightStride: 3 }],
  [1, 1, { leftOrder: 3 }],
  [5, 100, { leftOrder: 0, rightOrder: 7 }],
  [9, 20, { leftOrder: 0 }],
  [0, 20, { leftOrder: 2, rightOrder: 1 }],
];

const normCases: [number, number, FsmnOrders][] = [
  ...cases,
  [21, 320, { leftOrder: 10, rightOrder: 1 }],
  [90, 130, { leftOrder: 3, rightOrder: 2, leftStride: 2, rightStride: 4 }],
];

describe.each(allDevices)("fsmnMemory on $name", (device) => {
  test.each(cases)("[%i, %i] with %o matches the definition", async (rows, channels, orders) => {
    const taps = orders.leftOrder + 1 + (orders.rightOrder ?? 0);
    const [z, r, w] = [rows * channels, rows * channels, channels * taps].map((n, i) => randomArray(n, i).map(bf16));
    for (const dtype of ["f32", "bf16"] as const) {
      const x = device.tensor(z!, [rows, channels], dtype);
      const residual = device.tensor(r!, [rows, channels], dtype);
      using y = fsmnMemory(x, device.tensor(w!, [channels, taps], dtype), { ...orders, residual });
      const tolerance = dtype === "f32" ? 1e-6 : 4e-3;
      const expected = referenceMemory(z!, w!, channels, orders, r);
      expect(relativeError(await y.toFloat32Array(), expected)).toBeLessThan(tolerance);
      using bare = fsmnMemory(x, device.tensor(w!, [channels, 1, taps]), orders);
      const memory = referenceMemory(z!, w!, channels, orders);
      expect(relativeError(await bare.toFloat32Array(), memory)).toBeLessThan(tolerance);
    }
  });

  test.each(cases)("[%i, %i] with %o in pieces equals the whole", async (rows, channels, orders) => {
    const taps = orders.leftOrder + 1 + (orders.rightOrder ?? 0);
    const weight = device.tensor(randomArray(channels * taps, 1), [channels, taps]);
    const z = device.tensor(randomArray(rows * channels, 2), [rows, channels]);
    const residual = device.tensor(randomArray(rows * channels, 3), [rows, channels]);
    for (const withResidual of [true, false]) {
      using whole = fsmnMemory(z, weight, withResidual ? { ...orders, residual } : orders);
      for (const size of [1, 3, 64, 200]) {
        using stream = new FsmnMemoryStream(weight, { ...orders, residual: withResidual });
        const parts: Float32Array[] = [];
        const push = async (from: number, to: number, last: boolean) => {
          const r = withResidual ? residual.slice(from, to) : undefined;
          using y = stream.push(z.slice(from, to), r, { last });
          parts.push(await y.toFloat32Array());
        };
        for (let t = 0; t < rows; t += size) await push(t, Math.min(rows, t + size), false);
        await push(rows, rows, true);
        expect(Float32Array.from(parts.flatMap((p) => [...p]))).toEqual(await whole.toFloat32Array());
      }
    }
  });

  test.each(normCases)(
    "[%i, %i] with %o and a norm equals layerNorm followed by the memory",
    async (rows, channels, orders) => {
      const taps = orders.leftOrder + 1 + (orders.rightOrder ?? 0);
      const random = (seed: number, shape: number[], dtype: Activations) =>
        device.tensor(randomArray(shape[0]! * (shape[1] ?? 1), seed), shape, dtype);
      for (const [dtype, weightDtype, normDtype] of [
        ["f32", "f32", "f32"],
        ["f32", "bf16", "bf16"],
        ["bf16", "f32", "bf16"],
        ["bf16", "bf16", "f32"],
      ] as const) {
        const x = random(1, [rows, channels], dtype);
        const weight = random(2, [channels, taps], weightDtype);
        const norm = { weight: random(3, [channels], normDtype), bias: random(4, [channels], normDtype), eps: 1e-3 };
        const whole = (fused: FusedLayerNorm, residual?: Tensor<typeof dtype>) => {
          const z = layerNorm(x, fused.weight, fused.bias, { eps: fused.eps });
          const parts = fsmnMemory(z, weight, { ...orders, residual });
          return [fsmnMemory(x, weight, { ...orders, norm: fused, residual }), parts].map((y) => y.toFloat32Array());
        };
        const [fused, parts] = await Promise.all(whole(norm, x));
        expect(fused).toEqual(parts);
        const [bare, bareParts] = await Promise.all(whole({ weight: norm.weight }));
        expect(bare).toEqual(bareParts);
        for (const size of [1, 13, 40]) {
          using stream = new FsmnMemoryStream(weight, { ...orders, norm, dtype });
          const pieces: number[] = [];
          const push = async (from: number, to: number, last: boolean) => {
            const piece = x.slice(from, to);
            using y = stream.push(piece, piece, { last });
            pieces.push(...(await y.toFloat32Array()));
          };
          await push(0, 0, false);
          for (let t = 0; t < rows; t += size) await push(t, Math.min(rows, t + size), false);
          await push(rows, rows, true);
          expect(Float32Array.from(pieces)).toEqual(fused);
        }
      }
    },
  );

  test("bad input is refused before anything runs", () => {
    const z = device.zeros([6, 8]);
    const w = device.zeros([8, 4]);
    const orders = { leftOrder: 2, rightOrder: 1 };
    const call = (options: object, x: Tensor = z, weight: Tensor = w) => {
      expect.assertions(19);
      return () => fsmnMemory(x as Tensor<"f32">, weight as Tensor<"f32">, { ...orders, ...options });
    };
    expect(call({ leftOrder: 3 })).toThrowError(code("SHAPE_MISMATCH"));
    expect(call({}, device.zeros([8]))).toThrowError(code("SHAPE_MISMATCH"));
    expect(call({}, z, device.zeros([8, 2, 4]))).toThrowError(code("SHAPE_MISMATCH"));
    expect(call({ leftStride: 0 })).toThrowError(code("INVALID_ARGUMENT"));
    expect(call({}, z, device.zeros([8, 4], "i32"))).toThrowError(code("DTYPE_MISMATCH"));
    expect(call({ residual: device.zeros([5, 8]) })).toThrowError(code("SHAPE_MISMATCH"));
    expect(call({ residual: device.zeros([6, 8], "bf16") })).toThrowError(code("DTYPE_MISMATCH"));
    expect(call({ state: device.zeros([2, 8]) })).toThrowError(code("SHAPE_MISMATCH"));
    expect(call({ state: device.zeros([3, 8]), residual: z })).toThrowError(code("INVALID_ARGUMENT"));
    expect(call({ pending: device.zeros([1, 8]) })).toThrowError(code("INVALID_ARGUMENT"));
    expect(call({ last: true })).toThrowError(code("INVALID_ARGUMENT"));
    expect(call({ state: z.slice(0, 3) })).toThrowError(code("INVALID_ARGUMENT"));
    const norm = (weight: Tensor, rest: object = {}) => call({ norm: { weight, ...rest } });
    const vector = device.zeros([8]);
    expect(norm(device.zeros([7]))).toThrowError(code("SHAPE_MISMATCH"));
    expect(norm(device.zeros([8], "i32"))).toThrowError(code("DTYPE_MISMATCH"));
    expect(norm(vector, { bias: device.zeros([1, 8]) })).toThrowError(code("SHAPE_MISMATCH"));
    expect(norm(vector, { bias: device.zeros([8], "bf16") })).toThrowError(code("DTYPE_MISMATCH"));
    expect(norm(vector, { eps: 0 })).toThrowError(code("INVALID_ARGUMENT"));
    expect(call({ norm: { bias: vector } })).toThrowError(code("INVALID_ARGUMENT"));
    const state = device.zeros([3, 8]);
    expect(call({ state, norm: { weight: state.slice(1, 2).reshape([8]) } })).toThrowError(code("INVALID_ARGUMENT"));
  });
});

/** FireRedVAD's causal detector, a trained FSMN, built from this library's operations. */
class Detector {
  readonly #golden: Golden;
  readonly #device: Device;
  readonly #memories: FsmnMemoryStream[] = [];

  constructor(golden: Golden, device: Device) {
    this.#golden = golden;
    this.#device = device;
    // y = p + memory + previous. Adding 1 to the tap of the current row adds p; the residual adds the previous output.
    for (let b = 0; b < 8; b++) {
      const w = golden.f32(`weight.fsmn.${b}.lookback`).map((v, i) => (i % 20 === 19 ? v + 1 : v));
      this.#memories.push(new FsmnMemoryStream(device.tensor(w, [128, 20]), { leftOrder: 19 }));
    }
  }

  #weight(name: string): Tensor<"f32"> {
    return this.#device.tensor(this.#golden.f32(`weight.${name}`), this.#golden.tensor(`weight.${name}`).shape);
  }

  #dense(x: Tensor<"f32">, name: string, activation: "relu" | "sigmoid" | "none" = "relu"): Tensor<"f32"> {
    const weight = this.#weight(`${name}.weight`) as Tensor<"f32", readonly [number, number]>;
    const bias = this.#golden.names.includes(`weight.${name}.bias`) ? this.#weight(`${name}.bias`) : undefined;
    return linear(x as Tensor<"f32", readonly [number, number]>, weight, { bias, activation });
  }

  /** The probabilities of speech in the next frames. */
  push(features: Tensor<"f32">): Tensor<"f32"> {
    return this.#device.scope(() => {
      const x = cmvn(features, this.#weight("cmvn.mean"), this.#weight("cmvn.inv_std"));
      let m = this.#memories[0]!.push(this.#dense(this.#dense(x, "fc1"), "fc2"));
      for (let b = 1; b < 8; b++) {
        const p = this.#dense(this.#dense(m, `block.${b}.fc1`), `block.${b}.fc2`, "none");
        m = this.#memories[b]!.push(p, m);
      }
      return this.#dense(this.#dense(m, "dnn"), "out", "sigmoid");
    });
  }
}

describe.each(devices)("a trained FSMN on $name", (device) => {
  const golden = readGolden("fsmn_vad_trained_causal");
  const wave = golden.f32("input.waveform");
  const options = { removeDc: true, lowHz: 20, highHz: 8000 };
  const expected = golden.f32("expected.probabilities");

  test("features and probabilities match the published model, starting from the wave", async () => {
    using features = fbank(device.tensor(wave, [wave.length]), options);
    const [mean, inverseStd] = ["mean", "inv_std"].map((n) => device.tensor(golden.f32(`weight.cmvn.${n}`), [80]));
    using normalised = cmvn(features, mean!, inverseStd!);
    expect(relativeError(await normalised.toFloat32Array(), golden.f32("input.features"))).toBeLessThan(1e-5);
    using y = new Detector(golden, device).push(features);
    expect(relativeError(await y.toFloat32Array(), expected)).toBeLessThan(1e-4);
  });

  test("frame by frame, the probabilities are the same", async () => {
    const stream = new FbankStream(device, options);
    const detector = new Detector(golden, device);
    const probabilities: number[] = [];
    for (let start = 0; start < wave.length; start += 160) {
      using features = stream.push(wave.subarray(start, start + 160));
      using y = detector.push(features);
      probabilities.push(...(await y.toFloat32Array()));
    }
    using whole = new Detector(golden, device).push(fbank(device.tensor(wave, [wave.length]), options));
    expect(Float32Array.from(probabilities)).toEqual(await whole.toFloat32Array());
    expect(relativeError(probabilities, expected)).toBeLessThan(1e-4);
  });
});
