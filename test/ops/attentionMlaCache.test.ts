import { describe, expect, test } from "vitest";
import { mlaCacheWrite } from "../../lib/ops/attention.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { allDevices } from "../support/devices.js";
import { bf16, randomArray, relativeError } from "../support/numbers.js";

describe.each(allDevices)("mlaCacheWrite on $name", (device) => {
  const [latent, rotated, tokens] = [24, 8, 5];
  const slots = [7, 0, 3, 11, 4];
  const positions = [0, 1, 131071, 12, 5];
  const kv = randomArray(tokens * (latent + rotated), 1, 3);
  const weight = randomArray(latent, 2);

  const options = (cache: Tensor<"f32" | "bf16">, dtype: "f32" | "bf16" = "f32") => ({
    kv: device.tensor(kv, [tokens, latent + rotated], dtype),
    normWeight: device.tensor(weight, [latent]),
    positions: device.tensor(positions, [tokens], "i32"),
    slots: device.tensor(slots, [tokens], "i32"),
    cache,
    eps: 1e-5,
    scale: 3.5,
    theta: 1e7,
  });

  function expected(before: Float32Array): Float64Array {
    const width = latent + rotated;
    const out = Float64Array.from(before);
    slots.forEach((slot, t) => {
      const row = kv.subarray(t * width, (t + 1) * width);
      const rms = Math.sqrt(row.subarray(0, latent).reduce((s, v) => s + v * v, 0) / latent + 1e-5);
      for (let i = 0; i < latent; i++) out[slot * width + i] = (3.5 * weight[i]! * row[i]!) / rms;
      for (let i = 0; i < rotated / 2; i++) {
        const angle = positions[t]! * 1e7 ** ((-2 * i) / rotated);
        const [a, b] = [row[latent + 2 * i]!, row[latent + 2 * i + 1]!];
        out[slot * width + latent + 2 * i] = a * Math.cos(angle) - b * Math.sin(angle);
        out[slot * width + latent + 2 * i + 1] = b * Math.cos(angle) + a * Math.sin(angle);
      }
    });
    return out;
  }

  test("matches the definition and leaves other rows unchanged", async () => {
    const before = randomArray(12 * 32, 3);
    const cache = device.tensor(before, [3, 4, 32]);
    mlaCacheWrite(options(cache));
    const after = await cache.toFloat32Array();
    expect(relativeError(after, expected(before))).toBeLessThan(5e-7);
    for (const row of [1, 2, 5, 6, 8, 9, 10])
      expect(after.slice(row * 32, row * 32 + 32)).toEqual(before.slice(row * 32, row * 32 + 32));
  });

  test("refuses arguments that are views of the cache", () => {
    const cache = device.zeros([3, 4, 32]);
    const rows = cache.reshape([12, 32]).slice(0, tokens);
    expect(() => mlaCacheWrite({ ...options(cache), kv: rows })).toThrow(
      /cache is written in place and must not share/,
    );
    const row = cache.reshape([12 * 32]).slice(32, 32 + latent);
    expect(() => mlaCacheWrite({ ...options(cache), normWeight: row })).toThrow(/must not share memory/);
  });

  test("rounds once to a bf16 cache", async () => {
    const cache = device.zeros([3, 4, 32], "bf16");
    mlaCacheWrite(options(cache));
    const exact = expected(new Float32Array(12 * 32));
    const after = await cache.toFloat32Array();
    expect(relativeError(after, Float64Array.from(exact, bf16))).toBeLessThan(2e-4);
    const narrow = device.zeros([3, 4, 32]);
    mlaCacheWrite(options(narrow, "bf16"));
    expect(relativeError(await narrow.toFloat32Array(), exact)).toBeLessThan(5e-3);
  });

  test("bad input is refused", async () => {
    const good = options(device.zeros([3, 4, 32]));
    const refused = (change: object, code: string) =>
      expect(() => mlaCacheWrite({ ...good, ...change })).toThrowError(expect.objectContaining({ code }));
    refused({ cache: device.zeros([3, 4, 31]) }, "SHAPE_MISMATCH");
    refused({ cache: device.zeros([3, 4, 32], "f16") }, "DTYPE_MISMATCH");
    refused({ normWeight: device.zeros([23]) }, "SHAPE_MISMATCH");
    refused({ slots: device.zeros([4], "i32") }, "SHAPE_MISMATCH");
    refused({ eps: 0 }, "INVALID_ARGUMENT");
    for (const slot of [-1, 12, 2 ** 31 - 1]) {
      const cache = device.zeros([3, 4, 32]);
      mlaCacheWrite({ ...good, cache, slots: device.tensor([0, 1, 2, 3, slot], [5], "i32") });
      await expect(cache.read()).rejects.toThrow(expect.objectContaining({ code: "INDEX_OUT_OF_RANGE" }));
    }
  });
});
