import { describe, expect, test } from "vitest";
import { interpolateTokens, patchify, patchPositions, resizeBicubic } from "../../lib/ops/image.js";
import { allDevices } from "../support/devices.js";
import { code } from "../support/errors.js";
import { readGolden } from "../support/golden.js";
import { bf16, randomArray, relativeError, uniform } from "../support/numbers.js";

const mean = [0.485, 0.456, 0.406] as const;
const std = [0.229, 0.224, 0.225] as const;

function randomImage(h: number, w: number, channels: number, seed: number): Uint8Array {
  const next = uniform(seed);
  return Uint8Array.from({ length: h * w * channels }, () => Math.floor((next() + 1) * 128));
}

/** The cubic kernel in floating point, without the fixed-point steps. */
function referenceResize(image: Uint8Array, [h, w]: number[], [toH, toW]: number[]): Float64Array {
  const kernel = (x: number) => {
    const a = Math.abs(x);
    if (a < 1) return (1.5 * a - 2.5) * a * a + 1;
    return a < 2 ? -0.5 * (((a - 5) * a + 8) * a - 4) : 0;
  };
  const taps = (from: number, to: number) =>
    Array.from({ length: to }, (_, i) => {
      const stretch = Math.max(1, from / to);
      const center = ((i + 0.5) * from) / to;
      const all = Array.from({ length: from }, (_, x) => kernel((x + 0.5 - center) / stretch));
      const sum = all.reduce((s, v) => s + v, 0);
      return all.map((v) => v / sum);
    });
  const clip = (v: number) => Math.min(255, Math.max(0, v));
  const across = taps(w!, toW!);
  const down = taps(h!, toH!);
  const dot = (weights: number[], at: (i: number) => number) => weights.reduce((s, v, i) => s + (v ? v * at(i) : 0), 0);
  const narrow = Float64Array.from({ length: h! * toW! * 3 }, (_, i) => {
    const [row, column, c] = [Math.floor(i / (3 * toW!)), Math.floor(i / 3) % toW!, i % 3];
    return clip(dot(across[column]!, (x) => image[(row * w! + x) * 3 + c]!));
  });
  return Float64Array.from({ length: toH! * toW! * 3 }, (_, i) => {
    const [row, rest] = [Math.floor(i / (3 * toW!)), i % (3 * toW!)];
    return clip(dot(down[row]!, (y) => narrow[y * 3 * toW! + rest]!));
  });
}

describe.each(allDevices)("image on $name", (device) => {
  test.each([0, 1, 2])("Pillow's resize and the published patches, case %i", async (k) => {
    const golden = readGolden("image_preprocess");
    const image = golden.tensor(`input.${k}.image`);
    const [h, w] = golden.i32(`input.${k}.size`) as unknown as [number, number];
    const resized = resizeBicubic(device.tensor(image.values, image.shape as [number, number, 3], "u8"), [h, w]);
    const want = golden.tensor(`expected.${k}.resized`);
    expect(resized.shape).toEqual(want.shape);
    expect(await resized.read()).toEqual(want.values); // every pixel is equal
    const patches = patchify(resized, { mean, std });
    expect(patches.shape).toEqual(golden.tensor(`expected.${k}.patches`).shape);
    expect(relativeError(await patches.toFloat32Array(), golden.f32(`expected.${k}.patches`))).toBeLessThan(1e-6);
  });

  test.each([
    [
      [1, 1],
      [3, 5],
    ],
    [
      [7, 9],
      [7, 20],
    ], // a single pass
    [
      [7, 9],
      [30, 9],
    ],
    [
      [40, 61],
      [9, 13],
    ],
    [
      [33, 5],
      [2, 41],
    ],
    [
      [6, 6],
      [6, 6],
    ],
  ])("resize %j to %j is the cubic kernel, rounded after each pass", async (from, to) => {
    const image = randomImage(from[0]!, from[1]!, 3, 1);
    const y = await resizeBicubic(device.tensor(image, [from[0]!, from[1]!, 3], "u8"), to as [number, number]).read();
    const want = referenceResize(image, from, to);
    const worst = want.reduce((m, v, i) => Math.max(m, Math.abs(v - y[i]!)), 0);
    expect(worst).toBeLessThan(1.3); // two roundings of half, the first spread by kernel weights that exceed one
  });

  test("resize refuses what is not an image", () => {
    const image = device.zeros([4, 4, 3], "u8");
    expect(() => resizeBicubic(image, [0, 4])).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => resizeBicubic(image, [4, 2.5])).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => resizeBicubic(device.zeros([0, 4, 3], "u8"), [4, 4])).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => resizeBicubic(device.zeros([4, 4], "u8") as never, [4, 4])).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => resizeBicubic(device.zeros([4, 4, 3]) as never, [4, 4])).toThrowError(code("DTYPE_MISMATCH"));
  });

  test.each([1, 2, 3])("patches of two frames, merge size %i, are at their patchPositions", async (mergeSize) => {
    const [p, h, w] = [2, 2 * 6, 2 * 12];
    const frames = randomImage(2 * h, w, 3, 2);
    const y = patchify(device.tensor(frames, [2, h, w, 3], "u8"), { mean, std, mergeSize, patch: p });
    const positions = patchPositions([6, 12], { mergeSize });
    const values = await y.toFloat32Array();
    expect(y.shape).toEqual([72, 24]);
    const want = values.map((_, i) => {
      const [patch, at] = [Math.floor(i / 24), i % 24];
      const [c, t, r, k] = [Math.floor(at / 8), Math.floor(at / 4) % 2, Math.floor(at / 2) % 2, at % 2];
      const row = positions[2 * patch]! * p + r;
      const column = positions[2 * patch + 1]! * p + k;
      return (frames[((t * h + row) * w + column) * 3 + c]! / 255 - mean[c]!) / std[c]!;
    });
    expect(relativeError(values, want)).toBeLessThan(1e-6);
  });

  test("patch order is raster, or raster of blocks", () => {
    const pairs = (grid: [number, number], mergeSize: number) => {
      const flat = patchPositions(grid, { mergeSize });
      return Array.from({ length: flat.length / 2 }, (_, i) => `${flat[2 * i]}${flat[2 * i + 1]}`).join(" ");
    };
    expect(pairs([2, 3], 1)).toBe("00 01 02 10 11 12");
    expect(pairs([2, 4], 2)).toBe("00 01 10 11 02 03 12 13");
    expect(pairs([4, 4], 2)).toBe("00 01 10 11 02 03 12 13 20 21 30 31 22 23 32 33");
  });

  test("patchify refuses sides that are not divisible", () => {
    const options = { mean, std };
    expect(() => patchify(device.zeros([28, 15, 3], "u8"), options)).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => patchify(device.zeros([28, 42, 3], "u8"), { ...options, mergeSize: 2 })).toThrowError(
      code("SHAPE_MISMATCH"),
    );
    expect(() => patchify(device.zeros([3, 28, 28, 3], "u8"), options)).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => patchify(device.zeros([28, 28, 4], "u8"), options)).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => patchify(device.zeros([28, 28, 3], "u8"), { mean, std: [1, 0, 1] })).toThrowError(
      code("INVALID_ARGUMENT"),
    );
    expect(() => patchify(device.zeros([28, 28, 3]) as never, options)).toThrowError(code("DTYPE_MISMATCH"));
  });

  test.each([
    [[1, 1], [2, 3], 5],
    [[6, 4], [3, 4], 37],
    [[5, 7], [9, 3], 16],
    [[4, 4], [4, 4], 20],
  ])("tokens %j to %j, %i channels, are interpolated between half-pixel centres", async (from, to, c) => {
    const [h, w] = from as [number, number];
    const [toH, toW] = to as [number, number];
    const x = randomArray(h * w * c, 3);
    const locate = (i: number, n: number, m: number) => {
      const at = Math.max(0, ((i + 0.5) * n) / m - 0.5);
      const low = Math.floor(at);
      return [low, Math.min(low + 1, n - 1), at - low] as const;
    };
    const want = Float64Array.from({ length: toH * toW * c }, (_, i) => {
      const [t, l, dy] = locate(Math.floor(i / c / toW), h, toH);
      const [r0, r1, dx] = locate(Math.floor(i / c) % toW, w, toW);
      const at = (row: number, column: number) => x[(row * w + column) * c + (i % c)]!;
      return (1 - dy) * ((1 - dx) * at(t, r0) + dx * at(t, r1)) + dy * ((1 - dx) * at(l, r0) + dx * at(l, r1));
    });
    const sizes = { from: [h, w], to: [toH, toW] } as const;
    const y = interpolateTokens(device.tensor(x, [h * w, c]), sizes);
    expect(y.shape).toEqual([toH * toW, c]);
    expect(relativeError(await y.toFloat32Array(), want)).toBeLessThan(1e-6);
    const narrow = interpolateTokens(device.tensor(x.map(bf16), [h * w, c], "bf16"), sizes);
    expect(relativeError(await narrow.toFloat32Array(), want)).toBeLessThan(1e-2);
  });

  test("interpolateTokens refuses an impossible grid", () => {
    const x = device.zeros([6, 4]);
    expect(() => interpolateTokens(x, { from: [2, 2], to: [1, 1] })).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => interpolateTokens(x, { from: [2, 3], to: [0, 1] })).toThrowError(code("INVALID_ARGUMENT"));
  });

  test("misspelt options are named", () => {
    const [image, x] = [device.zeros([28, 28, 3], "u8"), device.zeros([6, 4])];
    expect(() => patchify(image, { mean, std, mergesize: 2 } as never)).toThrowError(
      /"mergesize": did you mean "mergeSize"/,
    );
    expect(() => patchPositions([2, 2], { merge: 2 } as never)).toThrowError(/did you mean "mergeSize"/);
    expect(() => interpolateTokens(x, { form: [2, 3], to: [1, 1] } as never)).toThrowError(
      /"form": did you mean "from"/,
    );
  });
});
