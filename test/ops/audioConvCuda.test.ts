// Tests of convolutions that concern only the CUDA backend: the choice among kernels, tiles and their edges, unaligned
// rows.
import { describe, expect, test, vi } from "vitest";
import {
  type Conv1dGeometry,
  type ConvTranspose1dGeometry,
  conv1d,
  convTranspose1d,
  packConv1d,
  packConvTranspose1d,
  snake,
} from "../../lib/ops/audio.js";
import { Conv1dStream, ConvTranspose1dStream } from "../../lib/ops/convStream.js";
import type { Device, Tensor } from "../../lib/tensor/tensor.js";
import { cuda, devices } from "../support/devices.js";
import { bf16, randomArray, relativeError } from "../support/numbers.js";

// So few multiprocessors that even small products use the largest tiles.
vi.hoisted(() => {
  process.env.CARACAL_VGPU_SM_COUNT = "4";
});

type Rows = "f32" | "bf16";

const tolerance = (dtype: Rows) => (dtype === "f32" ? 1e-6 : 4e-3);
const inputs = (on: Device, dtype: Rows, rows: number, channels: number) =>
  on.tensor(randomArray(rows * channels, 1).map(bf16), [rows, channels], dtype);
const weight = (on: Device, dtype: Rows, shape: readonly [number, number, number]) =>
  on.tensor(randomArray(shape[0] * shape[1] * shape[2], 2).map(bf16), shape, dtype);

describe.skipIf(!cuda)("conv1d on CUDA", () => {
  const device = cuda as Device;
  const cpu = devices[devices.length - 1] as Device;

  // With 72 columns, few rows use conv1d_share and many the large tile; with 264, the small tile and the large one.
  test.each<[Rows, Rows, number, number]>([
    ["f32", "f32", 40, 72],
    ["f32", "f32", 39, 264],
    ["f32", "bf16", 40, 264],
    ["f32", "bf16", 39, 72],
    ["bf16", "f32", 40, 72],
    ["bf16", "bf16", 40, 72],
    ["bf16", "bf16", 39, 264],
  ])("%s by %s, %i -> %i: every kernel gives the same bits, close to the CPU's", async (xs, ws, from, to) => {
    const [rows, taps, dilation] = [150, 7, 3];
    const run = (on: Device) => conv1d(inputs(on, xs, rows, from), weight(on, ws, [to, from, taps]), { dilation });
    const whole = await run(device).toFloat32Array();
    expect(relativeError(whole, await run(cpu).toFloat32Array())).toBeLessThan(tolerance(xs));
    const x = inputs(device, xs, rows, from);
    const stream = new Conv1dStream(weight(device, ws, [to, from, taps]), { dilation, dtype: xs });
    const parts: number[] = [];
    let start = 0;
    for (const size of [1, 5, 60, 84]) {
      parts.push(...(await stream.push(x.slice(start, start + size) as Tensor<Rows>).toFloat32Array()));
      start += size;
    }
    expect(Float32Array.from(parts)).toEqual(whole);
  });

  test.each<[Rows, Rows, Conv1dGeometry]>([
    ["f32", "f32", { stride: 2 }],
    ["bf16", "bf16", { padding: "symmetric" }],
  ])("%s by %s: groups larger than a tile, with an epilogue", async (xs, ws, geometry) => {
    const [rows, from, to, groups] = [300, 48, 216, 3];
    const run = async (on: Device) => {
      const [x, w] = [inputs(on, xs, rows, from), weight(on, ws, [to, from / groups, 5])];
      using bare = conv1d(x, w, { ...geometry, groups });
      return await conv1d(x, packConv1d(w, { groups }), {
        ...geometry,
        groups,
        bias: on.tensor(randomArray(to, 3), [to]),
        residual: bare,
        activation: "gelu",
      }).toFloat32Array();
    };
    const got = await run(device);
    expect(relativeError(got, await run(cpu))).toBeLessThan(2 * tolerance(xs));
    expect(await run(device)).toEqual(got);
  });

  test.each<[Rows, Rows, number, number, number]>([
    ["f32", "f32", 150, 40, 72],
    ["f32", "f32", 150, 40, 264],
    ["f32", "f32", 3, 200, 40],
    ["f32", "f32", 3, 200, 33],
    ["f32", "bf16", 150, 39, 264],
    ["bf16", "f32", 40, 40, 72],
    ["bf16", "bf16", 150, 40, 264],
    ["bf16", "bf16", 16, 40, 33],
    ["bf16", "bf16", 150, 40, 96],
  ])("%s by %s, %i rows, %i -> %i: Snake in every kernel's epilogue", async (xs, ws, rows, from, to) => {
    const w = weight(device, ws, [to, from, 7]);
    const alpha = device.tensor(randomArray(to, 6), [to]);
    const bias = device.tensor(randomArray(to, 3), [to], ws);
    const options = { dilation: 3, bias };
    const got = await conv1d(inputs(device, xs, rows, from), w, { ...options, snake: alpha }).toFloat32Array();
    const parts = snake(conv1d(inputs(device, "f32", rows, from), w, options), alpha);
    if (xs === "f32") expect(got).toEqual(await parts.toFloat32Array());
    else expect(relativeError(got, await parts.toFloat32Array())).toBeLessThan(tolerance(xs));
  });

  test.each<[Rows, Rows]>([
    ["f32", "f32"],
    ["bf16", "bf16"],
  ])("%s by %s: the bits do not depend on the alignment of rows", async (xs, ws) => {
    const [rows, channels] = [20, 24];
    const values = randomArray(rows * channels + 1, 5);
    const w = weight(device, ws, [33, channels, 3]);
    const shifted = device.tensor(values, [values.length], xs).slice(1).reshape([rows, channels]);
    const aligned = device.tensor(values.subarray(1), [rows, channels], xs);
    expect(await conv1d(shifted as Tensor<Rows>, w).toFloat32Array()).toEqual(
      await conv1d(aligned, w).toFloat32Array(),
    );
  });

  test.each([20, 150])("a NaN reaches only the rows whose taps read it, of %i", async (rows) => {
    const [channels, to, taps, bad] = [40, 72, 7, 11];
    const x = randomArray(rows * channels, 1);
    const w = weight(device, "f32", [to, channels, taps]);
    const clean = await conv1d(device.tensor(x, [rows, channels]), w).toFloat32Array();
    x[bad * channels + 3] = Number.NaN;
    const got = await conv1d(device.tensor(x, [rows, channels]), w).toFloat32Array();
    const hit = (i: number) => Math.floor(i / to) >= bad && Math.floor(i / to) < bad + taps;
    expect(got).toEqual(clean.map((v, i) => (hit(i) ? Number.NaN : v)));
  });

  test.each<[number, number, Conv1dGeometry]>([
    [600, 5, { stride: 2, padding: [3, 1] }],
    [12, 3, { dilation: 700, padding: "symmetric" }], // the rows in reach do not fit into shared memory
  ])("depthwise, %i rows, %i taps, %o", async (rows, taps, geometry) => {
    const channels = 70;
    const run = async (on: Device) =>
      await conv1d(inputs(on, "f32", rows, channels), weight(on, "bf16", [channels, 1, taps]), {
        ...geometry,
        groups: channels,
        bias: on.tensor(randomArray(channels, 3), [channels]),
        activation: "relu",
      }).toFloat32Array();
    const got = await run(device);
    expect(relativeError(got, await run(cpu))).toBeLessThan(1e-6);
  });

  test.each(["f32", "bf16"] as const)("packed in %s: several tiles of channels and taps", async (dtype) => {
    const [rows, channels, taps] = [5, 70, 130];
    const run = async (on: Device) =>
      await conv1d(inputs(on, "f32", rows, channels), packConv1d(weight(on, dtype, [3, channels, taps])), {
        padding: "symmetric",
      }).toFloat32Array();
    expect(relativeError(await run(device), await run(cpu))).toBeLessThan(1e-6);
  });
});

describe.skipIf(!cuda)("convTranspose1d on CUDA", () => {
  const device = cuda as Device;
  const cpu = devices[devices.length - 1] as Device;

  test.each<[Rows, Rows, ConvTranspose1dGeometry, number, number]>([
    ["f32", "f32", { stride: 3 }, 72, 3],
    ["bf16", "bf16", { stride: 3 }, 72, 3],
    ["f32", "bf16", { stride: 3 }, 70, 3],
    ["f32", "f32", { stride: 2, padding: 2, outputPadding: 1 }, 72, 7],
    ["bf16", "bf16", { stride: 2, padding: 1 }, 72, 4],
    ["bf16", "f32", { stride: 4, padding: 1 }, 35, 9],
  ])(
    "%s by %s, %o, %i columns, %i taps: pieces give the same bits as the whole",
    async (xs, ws, geometry, to, taps) => {
      const [rows, from] = [70, 40];
      const run = async (on: Device) =>
        await convTranspose1d(inputs(on, xs, rows, from), packConvTranspose1d(weight(on, ws, [from, to, taps])), {
          ...geometry,
          bias: on.tensor(randomArray(to, 3), [to], ws),
        }).toFloat32Array();
      const whole = await run(device);
      expect(relativeError(whole, await run(cpu))).toBeLessThan(tolerance(xs));
      expect(await run(device)).toEqual(whole);
      const x = inputs(device, xs, rows, from);
      const bias = device.tensor(randomArray(to, 3), [to], ws);
      const stream = new ConvTranspose1dStream(weight(device, ws, [from, to, taps]), { ...geometry, bias });
      const parts: number[] = [];
      let start = 0;
      for (const size of [1, 0, 20, 49]) {
        const piece = x.slice(start, start + size) as Tensor<Rows>;
        start += size;
        parts.push(...(await stream.push(piece, { last: start === rows && size > 0 }).toFloat32Array()));
      }
      expect(Float32Array.from(parts)).toEqual(whole);
    },
  );

  test("a long sequence whose products are computed in blocks has the same bits", async () => {
    const [rows, outputs, taps, stride] = [1200, 96, 40, 15]; // 4.6 million products; a block has 4.2 million
    const w = weight(device, "f32", [1, outputs, taps]);
    const x = inputs(device, "f32", rows, 1);
    const whole = await convTranspose1d(x, w, { stride }).toFloat32Array();
    const first = await convTranspose1d(x.slice(0, 1000) as Tensor<"f32">, w, { stride }).toFloat32Array();
    const last = await convTranspose1d(x.slice(1000, rows) as Tensor<"f32">, w, { stride }).toFloat32Array();
    const [shared, after] = [1000 * stride * outputs, (1000 * stride + taps - stride) * outputs];
    // toEqual is slow for millions of values
    const bits = (v: Float32Array) => Buffer.from(v.buffer, v.byteOffset, v.byteLength);
    expect(bits(whole.subarray(0, shared)).equals(bits(first.subarray(0, shared)))).toBe(true);
    expect(bits(whole.subarray(after)).equals(bits(last.subarray(after - shared)))).toBe(true);
  });
});
