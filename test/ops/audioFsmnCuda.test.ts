// Tests of the FSMN memory that concern only the CUDA backend: tiles and their edges, unaligned rows, sizes that do not
// fit into shared memory.
import { describe, expect, test, vi } from "vitest";
import { type FsmnOrders, fsmnMemory } from "../../lib/ops/audio.js";
import { FsmnMemoryStream } from "../../lib/ops/audioStream.js";
import { layerNorm } from "../../lib/ops/norm.js";
import type { Device, Tensor } from "../../lib/tensor/tensor.js";
import { cuda } from "../support/devices.js";
import { randomArray } from "../support/numbers.js";

// So few multiprocessors that blocks have many rows.
vi.hoisted(() => {
  process.env.CARACAL_VGPU_SM_COUNT = "6";
});

type Rows = "f32" | "bf16";

describe.skipIf(!cuda)("fsmnMemory with a norm on CUDA", () => {
  const device = cuda as Device;
  const random = <D extends Rows>(seed: number, shape: number[], dtype: D) =>
    device.tensor(randomArray(shape[0]! * (shape[1] ?? 1), seed), shape, dtype);

  test.each<[string, Rows, number, number, FsmnOrders, number[]]>([
    ["the encoder's", "bf16", 45, 1536, { leftOrder: 10, rightOrder: 1 }, [1, 13, 31]],
    ["the encoder's", "f32", 30, 1536, { leftOrder: 10 }, [13, 17]],
    ["rows wider than a block's threads", "bf16", 9, 4616, { leftOrder: 2 }, [4, 5]],
    ["unvectorised rows", "f32", 19, 1537, { leftOrder: 1, rightOrder: 1 }, [1, 18]],
    ["many rows", "bf16", 400, 72, { leftOrder: 3, leftStride: 5, rightOrder: 1 }, [370, 30]],
    ["a reach that does not fit into shared memory", "f32", 20, 64, { leftOrder: 1, leftStride: 3000 }, [3, 17]],
    ["rows that do not fit into shared memory", "f32", 3, 20000, { leftOrder: 2 }, [1, 2]],
  ])("%s: %s [%i, %i] with %o has the bits of the two operations, whole and in pieces", async (...given) => {
    const [, dtype, rows, channels, orders, pieces] = given;
    const taps = orders.leftOrder + 1 + (orders.rightOrder ?? 0);
    const x = random(1, [rows, channels], dtype);
    const weight = random(2, [channels, taps], "f32");
    const norm = { weight: random(3, [channels], "bf16"), bias: random(4, [channels], "bf16") };
    const z = layerNorm(x, norm.weight, norm.bias);
    const expected = await fsmnMemory(z, weight, { ...orders, residual: x }).toFloat32Array();
    const whole = await fsmnMemory(x, weight, { ...orders, norm, residual: x }).toFloat32Array();
    expect(Buffer.from(whole.buffer).equals(Buffer.from(expected.buffer))).toBe(true); // toEqual is slow
    const stream = new FsmnMemoryStream(weight, { ...orders, norm, dtype });
    const parts: number[] = [];
    let start = 0;
    for (const size of pieces) {
      const piece = x.slice(start, start + size);
      start += size;
      parts.push(...(await stream.push(piece, piece, { last: start === rows }).toFloat32Array()));
    }
    expect(Buffer.from(Float32Array.from(parts).buffer).equals(Buffer.from(expected.buffer))).toBe(true);
  });

  test.each<Rows>(["f32", "bf16"])("unaligned %s rows", async (dtype) => {
    const [rows, channels] = [20, 64];
    const weight = random(2, [channels, 5], dtype);
    const norm = { weight: random(3, [channels], dtype) };
    const x = random(1, [rows * channels + 1], dtype)
      .slice(1)
      .reshape([rows, channels]) as Tensor<Rows>;
    const state = random(5, [4 * channels + 1], dtype)
      .slice(1)
      .reshape([4, channels]) as Tensor<Rows>;
    const apart = state.slice(0).reshape([4, channels]);
    const z = layerNorm(x, norm.weight);
    const copy = device.tensor(await apart.toFloat32Array(), [4, channels], dtype);
    const expected = fsmnMemory(z, weight, { leftOrder: 4, state: copy });
    const got = fsmnMemory(x, weight, { leftOrder: 4, norm, state });
    expect(await got.toFloat32Array()).toEqual(await expected.toFloat32Array());
    expect(await state.toFloat32Array()).toEqual(await copy.toFloat32Array());
  });
});
