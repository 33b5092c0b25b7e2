import { describe, expect, test } from "vitest";
import { linear, packWeight, packWeights, swiglu } from "../../lib/ops/linear.js";
import { combine, groupedGemm, moe, permutation, type Routing, router } from "../../lib/ops/moe.js";
import type { Device } from "../../lib/tensor/tensor.js";
import { allDevices } from "../support/devices.js";
import { randomArray, relativeError, uniform } from "../support/numbers.js";

interface Picks {
  ids: number[];
  weights: number[];
}

/** The router's definition for one token, in double precision. */
function referencePicks(logits: number[], bias: ArrayLike<number>, topK: number, scale: number): Picks {
  const largest = Math.max(...logits);
  const e = logits.map((l) => Math.exp(l - largest));
  const sum = e.reduce((a, b) => a + b, 0);
  const s = e.map((v) => v / sum);
  const order = s.map((_, i) => i).sort((a, b) => s[b]! + bias[b]! - (s[a]! + bias[a]!) || a - b);
  const ids = order.slice(0, topK);
  return { ids, weights: ids.map((i) => s[i]! * scale) };
}

const config = { topK: 4, experts: 10, zeroExperts: 5, scale: 6 };
const all = config.experts + config.zeroExperts;

function routingOf(
  device: Device,
  ids: number[][],
  weights: number[][],
  experts: number,
  zeroExperts: number,
): Routing {
  const k = ids[0]?.length ?? 1;
  const zero = ids.map((row, t) => row.reduce((s, id, i) => s + (id >= experts ? weights[t]![i]! : 0), 0));
  return {
    ids: device.tensor(ids.flat(), [ids.length, k], "i32"),
    weights: device.tensor(weights.flat(), [ids.length, k]),
    zeroWeight: device.tensor(zero, [ids.length]),
    experts,
    zeroExperts,
  };
}

describe.each(allDevices)("moe on $name", (device) => {
  test("the router follows the report's definition", async () => {
    const [tokens, d] = [33, 40];
    const x = randomArray(tokens * d, 1);
    const w = randomArray(all * d, 2);
    const bias = randomArray(all, 3, 0.05);
    const classifier = packWeight(device.tensor(w, [all, d]));
    const r = router(device.tensor(x, [tokens, d]), classifier, device.tensor(bias, [all]), config);
    const [ids, weights, zero] = [
      await r.ids.read(),
      await r.weights.toFloat32Array(),
      await r.zeroWeight.toFloat32Array(),
    ];
    for (let t = 0; t < tokens; t++) {
      const logits = Array.from({ length: all }, (_, e) => {
        let sum = 0;
        for (let i = 0; i < d; i++) sum += x[t * d + i]! * w[e * d + i]!;
        return sum;
      });
      const expected = referencePicks(logits, bias, config.topK, config.scale);
      expect([...ids.subarray(t * 4, t * 4 + 4)]).toEqual(expected.ids);
      expect(relativeError(weights.subarray(t * 4, t * 4 + 4), expected.weights)).toBeLessThan(1e-5);
      const identity = expected.weights.reduce((s, v, i) => s + (expected.ids[i]! >= config.experts ? v : 0), 0);
      expect(zero[t]).toBeCloseTo(identity, 4);
    }
  });

  test("the lowest id wins a tie", async () => {
    const r = router(device.zeros([2, 8]), device.zeros([all, 8]), undefined, config);
    expect([...(await r.ids.read())]).toEqual([0, 1, 2, 3, 0, 1, 2, 3]);
  });

  test("renormalize and scaleZeroExperts", async () => {
    const bias = device.tensor(
      Array.from({ length: all }, (_, i) => (i >= 8 && i < 12 ? 1 : 0)),
      [all],
    );
    const x = device.zeros([1, 8]);
    const w = device.zeros([all, 8]);
    const normal = router(x, w, bias, { ...config, renormalize: true });
    expect([...(await normal.weights.toFloat32Array())]).toEqual([1.5, 1.5, 1.5, 1.5]);
    const unscaled = router(x, w, bias, { ...config, scaleZeroExperts: false });
    const [real, zero] = [6 / all, 1 / all];
    expect(relativeError(await unscaled.weights.toFloat32Array(), [real, real, zero, zero])).toBeLessThan(1e-6);
    expect((await unscaled.zeroWeight.toFloat32Array())[0]).toBeCloseTo(2 * zero, 6);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY])(
    "a %s logit makes only the weights of its own token NaN, and no id invalid",
    async (bad) => {
      const x = randomArray(3 * 8, 4);
      x[8] = bad;
      const r = router(device.tensor(x, [3, 8]), device.tensor(randomArray(all * 8, 5), [all, 8]), undefined, config);
      const [ids, weights] = [await r.ids.read(), await r.weights.toFloat32Array()];
      for (const id of ids) expect(id >= 0 && id < all).toBe(true);
      expect(new Set(ids.subarray(4, 8)).size).toBe(4);
      expect([...weights.subarray(4, 8)].every(Number.isNaN)).toBe(true);
      expect([...weights.subarray(0, 4), ...weights.subarray(8)].every(Number.isFinite)).toBe(true);
      expect(await moe(device.tensor(x, [3, 8]), randomExperts(device, 10, 8, 16), r).toFloat32Array()).toHaveLength(
        24,
      );
    },
  );

  test("the permutation sorts by expert, then by token", async () => {
    const ids = [
      [2, 5, 0],
      [0, 7, 2],
      [1, 0, 6],
    ]; // 5, 6, 7 are zero experts
    const p = permutation({ ids: device.tensor(ids.flat(), [3, 3], "i32"), experts: 5, zeroExperts: 3 });
    expect([...(await p.offsets.read())]).toEqual([0, 3, 4, 6, 6, 6]);
    expect([...(await p.tokenOf.read())]).toEqual([0, 1, 2, 2, 0, 1, -1, -1, -1]);
    expect([...(await p.slotOf.read())]).toEqual([4, -1, 0, 1, -1, 5, 3, 2, -1]);
  });

  test.each(["f32", "bf16"] as const)("a grouped row has the bits of linear with its expert (%s)", async (dtype) => {
    const [experts, n, k] = [4, 33, 70];
    const rows = [0, 9, 1, 20]; // includes an expert without rows and one with a single row
    const offsets = [0];
    for (const r of rows) offsets.push(offsets.at(-1)! + r);
    const matrices = Array.from({ length: experts }, (_, e) => device.tensor(randomArray(n * k, e), [n, k], dtype));
    const x = device.tensor(randomArray(40 * k, 9), [40, k]);
    const gather = Array.from({ length: 35 }, (_, i) => (i * 7) % 40);
    const y = await groupedGemm(x, packWeights(matrices), device.tensor(offsets, [experts + 1], "i32"), {
      gather: device.tensor(gather, [35], "i32"),
    }).toFloat32Array();
    for (let r = 0; r < 30; r++) {
      const e = offsets.findIndex((o, i) => r >= o && r < offsets[i + 1]!);
      const alone = await linear(x.slice(gather[r]!, gather[r]! + 1), matrices[e]!).toFloat32Array();
      expect(y.subarray(r * n, r * n + n)).toEqual(alone);
    }
    expect(y.subarray(30 * n).every((v) => v === 0)).toBe(true);
  });

  test.each(["random", "skewed", "all zero experts", "no tokens"])(
    "moe with %s routing is the sum over the picks",
    async (kind) => {
      const [d, f, experts, zeroExperts] = [48, 40, 6, 3];
      const tokens = kind === "no tokens" ? 0 : 25;
      const next = uniform(11);
      const ids = Array.from({ length: tokens }, () => {
        if (kind === "skewed") return [2, 7, 8];
        if (kind === "all zero experts") return [6, 8, 7];
        const order = Array.from({ length: experts + zeroExperts }, (_, i) => i).sort(() => next());
        return order.slice(0, 3);
      });
      const weights = ids.map((row) => row.map(() => Math.abs(next())));
      const x = device.tensor(randomArray(tokens * d, 1), [tokens, d]);
      const parts = [
        Array.from({ length: experts }, (_, e) => device.tensor(randomArray(f * d, e + 20, 0.2), [f, d])),
        Array.from({ length: experts }, (_, e) => device.tensor(randomArray(f * d, e + 30, 0.2), [f, d])),
        Array.from({ length: experts }, (_, e) => device.tensor(randomArray(d * f, e + 40, 0.2), [d, f])),
      ] as const;
      const [gate, up, down] = parts.map((p) => packWeights(p)) as [never, never, never];
      const routing = routingOf(device, ids, weights, experts, zeroExperts);
      const actual = await moe(x, { gate, up, down }, routing).toFloat32Array();
      const input = await x.toFloat32Array();
      const outputs = await Promise.all(
        parts[0].map((g, e) => linear(swiglu(x, g, parts[1][e]!), parts[2][e]!).toFloat32Array()),
      );
      const expected = new Float64Array(tokens * d);
      ids.forEach((row, t) => {
        row.forEach((id, i) => {
          for (let c = 0; c < d; c++)
            expected[t * d + c]! += weights[t]![i]! * (id < experts ? outputs[id]![t * d + c]! : input[t * d + c]!);
        });
      });
      expect(actual).toHaveLength(tokens * d);
      expect(relativeError(actual, expected)).toBeLessThan(1e-5);
    },
  );

  test("a token's bits do not depend on its neighbours", async () => {
    const [tokens, d] = [40, 32];
    const x = randomArray(tokens * d, 3);
    const w = device.tensor(randomArray(all * d, 4), [all, d]);
    const experts = randomExperts(device, 10, d, 24);
    const run = async (rows: Float32Array) => {
      const input = device.tensor(rows, [rows.length / d, d]);
      return moe(input, experts, router(input, w, undefined, config), { residual: input }).toFloat32Array();
    };
    const whole = await run(x);
    expect(await run(x.subarray(7 * d, 8 * d))).toEqual(whole.subarray(7 * d, 8 * d));
    expect(await run(x.subarray(10 * d, 31 * d))).toEqual(whole.subarray(10 * d, 31 * d));
  });

  test("invalid shapes throw at once, invalid contents when the result is read", async () => {
    const x = device.zeros([2, 8]);
    const w = device.zeros([all, 8]);
    expect(() => router(x, w, undefined, { ...config, topK: all + 1 })).toThrowError(
      /topK must be in \[1, 15\], got 16/,
    );
    expect(() => router(x, device.zeros([all + 1, 8]), undefined, config)).toThrowError(
      expect.objectContaining({ code: "SHAPE_MISMATCH" }),
    );
    const wrong = permutation({ ids: device.tensor([0, 15], [1, 2], "i32"), experts: 10, zeroExperts: 5 });
    await expect(wrong.slotOf.read()).rejects.toMatchObject({ code: "INDEX_OUT_OF_RANGE" });
    const experts = randomExperts(device, 10, 8, 16);
    const offsets = device.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 3], [11], "i32");
    await expect(groupedGemm(x, experts.gate, offsets).read()).rejects.toMatchObject({ code: "INDEX_OUT_OF_RANGE" });
    const routing = { weights: device.zeros([2, 1]), zeroWeight: device.zeros([2]) };
    const slots = { slotOf: device.tensor([0, 5], [2, 1], "i32") };
    await expect(combine(device.zeros([2, 8]), x, routing, slots).read()).rejects.toMatchObject({
      code: "INDEX_OUT_OF_RANGE",
    });
  });
});

function randomExperts(device: Device, experts: number, d: number, f: number) {
  const matrices = (n: number, k: number, seed: number) =>
    packWeights(Array.from({ length: experts }, (_, e) => device.tensor(randomArray(n * k, seed + e, 0.2), [n, k])));
  return { gate: matrices(f, d, 100), up: matrices(f, d, 200), down: matrices(d, f, 300) };
}
