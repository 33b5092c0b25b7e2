// Quantisation against references in plain arithmetic: the affine format by the definition of MLX's `quantize`, FP8 by a
// search of the nearest value.
import { describe, expect, test } from "vitest";
import { type CodeBits, linear, packWeight } from "../../lib/ops/linear.js";
import {
  type AffineGroup,
  dequantizeAffine,
  dequantizeFp8,
  quantizeAffine,
  quantizeFp8,
} from "../../lib/ops/quantization.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { allDevices, cuda } from "../support/devices.js";
import { code } from "../support/errors.js";
import { bf16, randomArray, relativeError } from "../support/numbers.js";
import { expectSameAsCpu, expectSameErrors } from "../support/sameAsCpu.js";

const allBits = [2, 3, 4, 5, 6, 8] as const;
const groups = [32, 64, 128] as const;
const f32 = Math.fround;

/** Rounds to the nearest integer, ties to even. */
function nearest(v: number): number {
  const low = Math.floor(v);
  if (v - low !== 0.5) return Math.round(v);
  return low % 2 === 0 ? low : low + 1;
}

/** One group as MLX's CPU code quantises it, every operation rounded to f32. */
function referenceGroup(w: readonly number[], bits: number) {
  const levels = 2 ** bits - 1;
  const [low, high] = [Math.min(...w), Math.max(...w)];
  const range = Math.max(f32(f32(high - low) / levels), f32(1e-7));
  const isLow = Math.abs(low) > Math.abs(high);
  let scale = isLow ? range : -range;
  const edge = isLow ? low : high;
  const steps = nearest(f32(edge / scale));
  let bias = 0;
  if (steps !== 0) [scale, bias] = [f32(edge / steps), edge];
  const q = w.map((v) => Math.min(Math.max(nearest(f32(f32(v - bias) / scale)), 0), levels));
  return { q, scale, bias };
}

/** Codes as a stream of bits, bit by bit. */
function referenceBytes(q: readonly number[], bits: number): Uint8Array {
  const bytes = new Uint8Array((q.length * bits) / 8);
  for (const [k, value] of q.entries())
    for (let b = 0; b < bits; b++) {
      const at = k * bits + b;
      bytes[at >> 3]! |= ((value >> b) & 1) << (at & 7);
    }
  return bytes;
}

function referenceAffine(w: Float32Array, k: number, bits: number, group: number, narrow: (v: number) => number) {
  const parts = Array.from({ length: w.length / group }, (_, g) =>
    referenceGroup([...w.subarray(g * group, (g + 1) * group)], bits),
  );
  const rows = Array.from({ length: w.length / k }, (_, row) =>
    referenceBytes(
      parts.slice((row * k) / group, ((row + 1) * k) / group).flatMap(({ q }) => q),
      bits,
    ),
  );
  return {
    codes: Uint8Array.from(rows.flatMap((row) => [...row])),
    scale: parts.map(({ scale }) => narrow(scale)),
    bias: parts.map(({ bias }) => narrow(bias)),
    q: parts.flatMap(({ q }) => q),
  };
}

/** Magnitudes of f8e4m3 by their codes. */
const fp8 = Array.from({ length: 127 }, (_, c) => (c < 8 ? c * 2 ** -9 : (8 + (c & 7)) * 2 ** ((c >> 3) - 10)));
function referenceFp8(v: number): number {
  const magnitude = Math.abs(v);
  let best = 0;
  for (const [c, value] of fp8.entries()) {
    const [to, from] = [Math.abs(value - magnitude), Math.abs(fp8[best]! - magnitude)];
    if (to < from || (to === from && c % 2 === 0)) best = c;
  }
  return v < 0 || Object.is(v, -0) ? best + 128 : best;
}

/** Weights whose groups have outliers on either side, lie on one side of 0, or are constant. */
function weights(n: number, k: number, seed: number): Float32Array {
  const w = randomArray(n * k, seed, 0.05);
  for (let i = 0; i < w.length; i += 1) {
    const group = Math.floor(i / 32) % 6;
    if (group === 1) w[i]! += 0.2;
    if (group === 2) w[i]! -= 0.3;
    if (group === 3) w[i] = i % 128 < 64 ? 0 : -0.25;
    if (group === 4 && i % 32 === 5) w[i] = -3;
    if (group === 5) w[i]! *= 1e-9;
  }
  return w;
}

describe.each(allDevices)("quantisation on $name", (device) => {
  test.each(allBits)("quantizeAffine to %i bits is that of MLX, to the bit", async (bits) => {
    for (const group of groups)
      for (const dtype of ["f32", "bf16"] as const) {
        const narrow = dtype === "bf16" ? bf16 : f32;
        const values = weights(5, 384, bits + group).map(narrow);
        const want = referenceAffine(values, 384, bits, group, narrow);
        const { codes, scale, bias } = quantizeAffine(device.tensor(values, [5, 384], dtype), { bits, group });
        expect([codes.shape, codes.dtype, scale.dtype]).toEqual([[5, 48 * bits], "u8", dtype]);
        expect([scale.shape, bias.shape]).toEqual([
          [5, 384 / group],
          [5, 384 / group],
        ]);
        expect([...(await scale.toFloat32Array())]).toEqual(want.scale);
        expect([...(await bias.toFloat32Array())]).toEqual(want.bias);
        expect(await codes.read()).toEqual(want.codes);
      }
  });

  test("codes that are known by hand", async () => {
    const ramp = (low: number, count: number) => Array.from({ length: 32 }, (_, i) => low + (i % count));
    const four = quantizeAffine(device.tensor(ramp(-8, 16), [1, 32]), { bits: 4, group: 32 });
    expect([...(await four.codes.read())].slice(0, 8)).toEqual([0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe]);
    expect([...(await four.scale.toFloat32Array()), ...(await four.bias.toFloat32Array())]).toEqual([1, -8]);
    // The codes 0 to 7, three bits each, are 0o76543210 = 0xfac688.
    const three = quantizeAffine(device.tensor(ramp(-4, 8), [1, 32]), { bits: 3, group: 32 });
    expect([...(await three.codes.read())].slice(0, 3)).toEqual([0x88, 0xc6, 0xfa]);
    // If the maximum is larger in magnitude, it is the bias, and the scale is negative.
    const negated = ramp(-8, 16).map((v) => -v);
    const down = quantizeAffine(device.tensor(negated, [1, 32]), { bits: 4, group: 32 });
    expect([...(await down.codes.read())]).toEqual([...(await four.codes.read())]);
    expect([...(await down.scale.toFloat32Array()), ...(await down.bias.toFloat32Array())]).toEqual([-1, 8]);
  });

  test.each(allBits)("dequantizeAffine of %i bits is scale · q + bias", async (bits) => {
    for (const group of groups)
      for (const dtype of ["f32", "f16", "bf16"] as const)
        for (const outDtype of ["f32", "bf16"] as const) {
          const [n, k] = [3, 256];
          const q = Array.from({ length: n * k }, (_, i) => (i * 37 + (i >> 4)) % 2 ** bits);
          const bytes = Array.from({ length: n }, (_, r) => [...referenceBytes(q.slice(r * k, (r + 1) * k), bits)]);
          const codes = device.tensor(Uint8Array.from(bytes.flat()), [n, (k * bits) / 8] as const, "u8");
          const make = (seed: number) => device.tensor(randomArray((n * k) / group, seed), [n, k / group], dtype);
          const [scale, bias] = [make(bits), make(bits + 1)];
          const [s, b] = [await scale.toFloat32Array(), await bias.toFloat32Array()];
          const narrow = outDtype === "bf16" ? bf16 : f32;
          const at = (i: number) => Math.floor(i / group);
          const y = dequantizeAffine(codes, { bits, scale, bias, outDtype });
          expect([y.shape, y.dtype]).toEqual([[n, k], outDtype]);
          const want = q.map((v, i) => narrow(f32(f32(s[at(i)]! * v) + b[at(i)]!)));
          expect([...(await y.toFloat32Array())]).toEqual(want);
          const symmetric = await dequantizeAffine(codes, { bits, scale, outDtype }).toFloat32Array();
          const offset = 2 ** (bits - 1);
          expect([...symmetric]).toEqual(q.map((v, i) => narrow(f32(s[at(i)]! * (v - offset)))));
        }
  });

  test.each([
    [2, 0.35],
    [3, 0.16],
    [4, 0.075],
    [5, 0.037],
    [6, 0.018],
    [8, 0.0045],
  ] as const)("%i bits keep uniform weights within %f, and 0 and the larger end exactly", async (bits, limit) => {
    const values = randomArray(4 * 256, bits, 0.1);
    values.fill(0, 17, 23);
    const w = device.tensor(values, [4, 256]);
    const y = await dequantizeAffine(...matrix(quantizeAffine(w, { bits, group: 64 }), bits)).toFloat32Array();
    expect(relativeError(y, values)).toBeLessThan(limit);
    for (let i = 17; i < 23; i++) expect(Math.abs(y[i]!)).toBeLessThan(1e-8);
    const group = values.subarray(64, 128);
    const largest = group.reduce((a, v) => (Math.abs(v) > Math.abs(a) ? v : a));
    expect(y[64 + group.indexOf(largest)]).toBe(largest);
  });

  test.each(["f32", "bf16"] as const)(
    "quantizeFp8 of %s takes the nearest value of every block's scale",
    async (dtype) => {
      for (const [n, k] of [
        [1, 1],
        [130, 129],
        [128, 256],
        [5, 300],
      ] as const) {
        const values = randomArray(n * k, n + k, 3).map((v) => (dtype === "bf16" ? bf16(v) : v));
        const { codes, scale } = quantizeFp8(device.tensor(values, [n, k] as const, dtype));
        const across = Math.ceil(k / 128);
        const block = (i: number) => Math.floor(i / k / 128) * across + Math.floor((i % k) / 128);
        const largest = new Float64Array(Math.ceil(n / 128) * across);
        values.forEach((v, i) => {
          largest[block(i)] = Math.max(largest[block(i)]!, Math.abs(v));
        });
        const scales = await scale.toFloat32Array();
        expect(scale.shape).toEqual([Math.ceil(n / 128), across]);
        expect([...scales]).toEqual([...largest].map((v) => f32(v / 448)));
        const bytes = await codes.read();
        expect([...bytes]).toEqual([...values].map((v, i) => referenceFp8(f32(v / scales[block(i)]!))));
        const y = dequantizeFp8(codes, { scale, outDtype: dtype });
        const narrow = dtype === "bf16" ? bf16 : f32;
        const value = (byte: number) => (byte & 128 ? -1 : 1) * fp8[byte & 127]!;
        expect([...(await y.toFloat32Array())]).toEqual(
          [...bytes].map((byte, i) => narrow(f32(value(byte) * scales[block(i)]!))),
        );
      }
    },
  );

  test("a block of zeros has the scale 1, and so has one of subnormal numbers", async () => {
    const values = new Float32Array(128 * 256);
    values[200] = 1e-40;
    const { codes, scale } = quantizeFp8(device.tensor(values, [128, 256]));
    expect([...(await scale.toFloat32Array())]).toEqual([1, 1]);
    expect((await codes.read()).every((byte) => byte === 0)).toBe(true);
  });

  test("packWeight takes what quantizeFp8 gives", async () => {
    const w = device.tensor(randomArray(96 * 160, 5), [96, 160]);
    const { codes, scale } = quantizeFp8(w);
    const x = device.tensor(randomArray(160, 6), [1, 160]);
    const [y, want] = await Promise.all(
      [packWeight(codes, { scale }), dequantizeFp8(codes, { scale })].map((m) => linear(x, m).toFloat32Array()),
    );
    expect(relativeError(y!, want!)).toBeLessThan(1e-6);
  });

  test("views and empty matrices", async () => {
    const values = weights(4, 64, 3);
    const all = device.tensor(values, [4, 64]);
    const { codes, scale, bias } = quantizeAffine(all.slice(1, 3) as Tensor<"f32", readonly [number, 64]>, {
      bits: 6,
      group: 32,
    });
    const want = referenceAffine(values.slice(64, 192), 64, 6, 32, f32);
    expect(await codes.read()).toEqual(want.codes);
    const second = dequantizeAffine(codes.slice(1, 2) as typeof codes, {
      bits: 6,
      scale: scale.slice(1, 2),
      bias: bias.slice(1, 2),
    });
    const whole = dequantizeAffine(codes, { bits: 6, scale, bias });
    expect([...(await second.toFloat32Array())]).toEqual([...(await whole.toFloat32Array())].slice(64));
    for (const [n, k] of [
      [0, 64],
      [3, 0],
    ] as const) {
      const empty = quantizeAffine(device.zeros([n, k]), { bits: 3, group: 32 });
      expect(empty.codes.shape).toEqual([n, (3 * k) / 8]);
      expect(dequantizeAffine(...matrix(empty, 3)).shape).toEqual([n, k]);
      expect((await quantizeFp8(device.zeros([n, k])).codes.read()).length).toBe(0);
    }
  });

  test("weights that cannot be quantised are named", async () => {
    for (const bad of [Number.NaN, Infinity, -Infinity, -1e38]) {
      const values = weights(3, 64, 4);
      values[64 + 37] = bad;
      const w = device.tensor(values, [3, 64]);
      const message = /the weight at row 1, column 37 is NaN, infinite or beyond 2\^126/;
      await expect(quantizeAffine(w, { bits: 4, group: 32 }).scale.read()).rejects.toThrow(message);
      await expect(quantizeFp8(w).codes.read()).rejects.toThrow(message);
      await expect(quantizeFp8(w).codes.read()).rejects.toThrowError(code("INVALID_ARGUMENT"));
    }
  });

  test("what does not fit is refused", () => {
    const w = device.zeros([4, 64]);
    const affine = (options: object) => () => quantizeAffine(w, options as { bits: 4; group: 64 });
    expect(affine({ bits: 7, group: 64 })).toThrow("bits must be 2, 3, 4, 5, 6 or 8, got 7");
    expect(affine({ bits: 4, group: 16 })).toThrow("group must be 32, 64 or 128, got 16");
    expect(affine({ bits: 4, group: 128 })).toThrowError(code("SHAPE_MISMATCH"));
    expect(affine({ bits: 4 })).toThrowError(code("INVALID_ARGUMENT"));
    expect(affine({ bits: 4, group: 64, groupSize: 64 })).toThrow("no option");
    expect(() => quantizeAffine(device.zeros([4, 64], "f16") as never, { bits: 4, group: 64 })).toThrowError(
      code("DTYPE_MISMATCH"),
    );
    const codes = device.zeros([4, 32], "u8");
    const back = (options: object) => () => dequantizeAffine(codes, options as { bits: 4; scale: Tensor<"f32"> });
    expect(back({ bits: 4, scale: device.zeros([4, 4]) })).toThrow("a column for every 32, 64 or 128 of the 64 codes");
    expect(back({ bits: 4, scale: device.zeros([3, 1]) })).toThrowError(code("SHAPE_MISMATCH"));
    expect(back({ bits: 3, scale: device.zeros([4, 1]) })).toThrow("codes must have a multiple of 12 columns");
    expect(back({ bits: 4, scale: device.zeros([4, 1]), bias: device.zeros([4, 2]) })).toThrowError(
      code("SHAPE_MISMATCH"),
    );
    expect(back({ bits: 4, scale: device.zeros([4, 1]), bias: device.zeros([4, 1], "bf16") })).toThrowError(
      code("DTYPE_MISMATCH"),
    );
    expect(back({ bits: 4, scale: device.zeros([4, 1]), outDtype: "f16" })).toThrowError(code("DTYPE_MISMATCH"));
    expect(() => quantizeFp8(device.zeros([4]) as never)).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => dequantizeFp8(device.zeros([4, 64], "f8e4m3"), { scale: device.zeros([1, 2]) })).toThrowError(
      code("SHAPE_MISMATCH"),
    );
  });
});

function matrix({ codes, ...rest }: ReturnType<typeof quantizeAffine>, bits: CodeBits) {
  return [codes, { bits, ...rest }] as const;
}

describe.skipIf(!cuda)("quantisation on the GPU", () => {
  test("has the bits of the CPU", async () => {
    for (const [n, k] of [
      [3, 128],
      [9, 640],
    ] as const)
      for (const dtype of ["f32", "bf16"] as const) {
        const values = weights(n, k, n);
        for (const bits of allBits)
          for (const group of [32, 128] satisfies AffineGroup[])
            await expectSameAsCpu((device) => {
              const affine = quantizeAffine(device.tensor(values, [n, k], dtype), { bits, group });
              const { codes, ...rest } = affine;
              return [rest.scale, rest.bias, dequantizeAffine(codes, { bits, ...rest, outDtype: dtype })];
            });
        await expectSameAsCpu((device) => {
          const { codes, scale } = quantizeFp8(device.tensor(values, [n, k], dtype));
          return [codes, scale, dequantizeFp8(codes, { scale, outDtype: dtype })];
        });
      }
  });

  test("reports the errors of the CPU", async () => {
    const values = weights(3, 64, 4);
    values[100] = Number.NaN;
    await expectSameErrors((device) => {
      const w = device.tensor(values, [3, 64]);
      return [quantizeAffine(w, { bits: 4, group: 32 }).codes, quantizeFp8(w).scale];
    });
  });
});
