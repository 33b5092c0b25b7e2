// The CUDA backend's own risks with images: edges of tiles, unaligned rows, outputs of too many pixels for shared memory.
// Every bit must be the CPU's.
import { describe, expect, test } from "vitest";
import { interpolateTokens, patchify, resizeBicubic } from "../../lib/ops/image.js";
import type { Device } from "../../lib/tensor/tensor.js";
import { cuda, devices } from "../support/devices.js";
import { randomArray, uniform } from "../support/numbers.js";

function bytes(n: number, seed: number): Uint8Array {
  const next = uniform(seed);
  return Uint8Array.from({ length: n }, () => Math.floor((next() + 1) * 128));
}

describe.skipIf(!cuda)("image on CUDA alone", () => {
  const device = cuda as Device;

  test.each([
    [1, 3, [3, 5], [100, 140]],
    [1, 3, [70, 300], [19, 137]], // rows of an odd number of bytes
    [1, 3, [70, 288], [35, 144]],
    [1, 4, [9, 333], [40, 20]],
    [1, 1, [300, 7], [3, 7]],
    [1, 1, [5, 5000], [4, 1]], // 20,000 weights
    [1, 70, [3, 400], [3, 2]],
    [0, 3, [33, 64], [16, 16]],
  ] as const)("resize from row %i on, %i channels, %j to %j", async (skipped, channels, from, to) => {
    const image = bytes(from[0] * from[1] * channels, 1);
    const resize = (on: Device) =>
      resizeBicubic(on.tensor(image, [...from, channels], "u8").slice(skipped, from[0]), to).read();
    const got = await resize(device);
    expect(got).toEqual(await resize(devices[0]!));
    expect(await resize(device)).toEqual(got);
  });

  const normal = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;
  test.each([
    { patch: 14, mergeSize: 2, temporal: 2, grid: [4, 28], frames: 1 },
    { patch: 14, mergeSize: 1, temporal: 3, grid: [3, 25], frames: 3 },
    { patch: 16, mergeSize: 3, temporal: 1, grid: [3, 45], frames: 1 },
    { patch: 3, mergeSize: 2, temporal: 2, grid: [4, 130], frames: 2 },
    { patch: 1, mergeSize: 1, temporal: 2, grid: [5, 401], frames: 1 },
    { patch: 64, mergeSize: 1, temporal: 2, grid: [2, 3], frames: 2 }, // both frames do not fit at once
    { patch: 150, mergeSize: 1, temporal: 2, grid: [2, 2], frames: 1 }, // neither does a patch, nor a row of it
  ] as const)("patches of %j", async ({ grid, frames, ...options }) => {
    const [height, width] = [grid[0] * options.patch, grid[1] * options.patch];
    const shape = frames > 1 ? [frames, height, width, 3] : [height, width, 3];
    const pixels = bytes(frames * height * width * 3, 2);
    const cut = (on: Device) =>
      patchify(on.tensor(pixels, shape as [number, number, 3], "u8"), { ...options, ...normal }).toFloat32Array();
    expect(await cut(device)).toEqual(await cut(devices[0]!));
  });

  test("patches of a view, and of an empty image", async () => {
    const pixels = bytes(29 * 35 * 3, 3);
    const cut = (on: Device) =>
      patchify(on.tensor(pixels, [29, 35, 3], "u8").slice(1, 29), { ...normal, patch: 7 }).toFloat32Array();
    expect(await cut(device)).toEqual(await cut(devices[0]!));
    expect((await patchify(device.zeros([0, 28, 3], "u8"), normal).read()).length).toBe(0);
  });

  test.each([
    [1, 1],
    [37, 1],
    [264, 0],
    [4100, 0],
  ])("tokens of %i columns, from row %i on", async (columns, skipped) => {
    const values = randomArray((15 + skipped) * columns, 4);
    for (const dtype of ["f32", "bf16"] as const) {
      const interpolate = (on: Device) =>
        interpolateTokens(on.tensor(values, [15 + skipped, columns], dtype).slice(skipped, 15 + skipped) as never, {
          from: [3, 5],
          to: [4, 3],
        }).toFloat32Array();
      expect(await interpolate(device)).toEqual(await interpolate(devices[0]!));
    }
    const none = interpolateTokens(device.zeros([4, 0]), { from: [2, 2], to: [3, 3] });
    expect((await none.read()).length).toBe(0);
  });
});
