// Products with random codes of every form, compared with double precision by the weights that the codes stand for.
// CARACAL_TEST_ROUNDS=100 runs more rounds than a test's few.
import { describe, expect, test } from "vitest";
import * as ops from "../../lib/ops/index.js";
import type { Device, Tensor } from "../../lib/tensor/tensor.js";
import { type CodeForm, randomCodes } from "../support/codes.js";
import { allDevices } from "../support/devices.js";
import { randomArray, relativeError, uniform } from "../support/numbers.js";

/** A weight `[n, k]` of codes: as it is stored, and as numbers. */
interface Weight {
  readonly codes: Tensor<"u8", readonly [number, number]>;
  readonly options: ops.AffineScale;
  readonly values: Float64Array;
}

/** A product by its definition: the rows of x times those of w, `[rows of x, rows of w]`. */
function product(x: ArrayLike<number>, w: Float64Array, k: number): Float64Array {
  const [m, n] = [x.length / k, w.length / k];
  return Float64Array.from({ length: m * n }, (_, i) => {
    const [row, column] = [Math.floor(i / n) * k, (i % n) * k];
    let sum = 0;
    for (let j = 0; j < k; j++) sum += x[row + j]! * w[column + j]!;
    return sum;
  });
}

const gated = (x: ArrayLike<number>, gate: Float64Array, up: Float64Array, k: number): Float64Array => {
  const [g, u] = [product(x, gate, k), product(x, up, k)];
  return g.map((v, i) => (v / (1 + Math.exp(-v))) * u[i]!);
};

class Draw {
  readonly #next: () => number;
  readonly form: CodeForm;
  readonly dtype: "f32" | "bf16";
  /** What a result of x's dtype may differ by from the reference. */
  readonly tolerance: number;

  constructor(
    readonly device: Device,
    seed: number,
  ) {
    this.#next = uniform(seed);
    this.form = {
      bits: this.pick(2, 3, 4, 5, 6, 8),
      group: this.pick(32, 64, 128),
      scales: this.pick("f32", "bf16", "f16"),
      biases: this.int(0, 1) === 1,
    };
    this.dtype = this.pick("f32", "bf16");
    this.tolerance = this.dtype === "f32" ? 1e-5 : 5e-3;
  }
  int = (low: number, high: number) => low + Math.floor(((this.#next() + 1) / 2) * (high - low + 1));
  pick = <T>(...from: readonly T[]): T => from[this.int(0, from.length - 1)]!;
  depth = () => this.form.group * this.int(1, 3);

  async rows(m: number, k: number) {
    const tensor = this.device.tensor(randomArray(m * k, this.int(1, 1e6)), [m, k], this.dtype);
    return { tensor, values: await tensor.toFloat32Array() };
  }

  async weight(n: number, k: number): Promise<Weight> {
    const { bits, group } = this.form;
    const { codes, options } = randomCodes(this.device, this.form, n, k, this.int(1, 1e6));
    const [stored, scale, bias] = await Promise.all([
      codes.read(),
      options.scale.toFloat32Array(),
      options.bias?.toFloat32Array(),
    ]);
    const bit = (at: number) => (stored[at >> 3]! >> (at & 7)) & 1;
    const values = Float64Array.from({ length: n * k }, (_, i) => {
      let code = 0;
      for (let b = 0; b < bits; b++) code += bit(i * bits + b) << b;
      const g = Math.floor(i / group);
      return scale[g]! * code + (bias ? bias[g]! : -(2 ** (bits - 1)) * scale[g]!);
    });
    return { codes, options, values };
  }
  async experts(count: number, n: number, k: number): Promise<Weight[]> {
    const list: Weight[] = [];
    for (let e = 0; e < count; e++) list.push(await this.weight(n, k));
    return list;
  }
}

const packed = ({ codes, options }: Weight) => ops.packWeight(codes, options);
const together = (list: readonly Weight[]) =>
  ops.packWeights(
    list.map(({ codes }) => codes),
    {
      bits: list[0]!.options.bits,
      scales: list.map(({ options }) => options.scale),
      ...(list[0]!.options.bias && { biases: list.map(({ options }) => options.bias!) }),
    },
  ) as never;

/** Each returns what the device computed, what it should be, and the tolerance unless it is the drawn one. */
const cases: Readonly<Record<string, (d: Draw) => Promise<[Tensor, ArrayLike<number>, number?]>>> = {
  async linear(d) {
    const [m, n, k] = [d.pick(1, 3, 16, 17, 70), d.int(1, 90), d.depth()];
    const [x, w] = [await d.rows(m, k), await d.weight(n, k)];
    const y = ops.linear(x.tensor, packed(w), { outDtype: "f32" });
    return [y, product(x.values, w.values, k), 2e-6];
  },
  async swiglu(d) {
    const [m, n, k] = [d.pick(1, 3, 16, 17, 70), d.int(1, 90), d.depth()];
    const [x, gate, up] = [await d.rows(m, k), await d.weight(n, k), await d.weight(n, k)];
    return [ops.swiglu(x.tensor, packed(gate), packed(up)), gated(x.values, gate.values, up.values, k)];
  },
  async grouped(d) {
    const [n, k, counts] = [d.int(1, 60), d.depth(), [d.int(0, 3), d.int(0, 40), 0, d.int(1, 20)]];
    const offsets = [0];
    for (const count of counts) offsets.push(offsets.at(-1)! + count);
    const [x, gate, up] = [
      await d.rows(offsets.at(-1)!, k),
      await d.experts(counts.length, n, k),
      await d.experts(counts.length, n, k),
    ];
    const starts = d.device.tensor(offsets, [offsets.length], "i32");
    const each = (of: (rows: Float32Array, e: number) => Float64Array) =>
      counts.flatMap((_, e) => [...of(x.values.slice(offsets[e]! * k, offsets[e + 1]! * k), e)]);
    const [plain, both] = [
      ops.groupedGemm(x.tensor, together(gate), starts),
      ops.groupedSwiglu(x.tensor, together(gate), together(up), starts),
    ];
    return [
      ops.concatRows([plain, both] as never),
      [
        ...each((rows, e) => product(rows, gate[e]!.values, k)),
        ...each((rows, e) => gated(rows, gate[e]!.values, up[e]!.values, k)),
      ],
    ];
  },
  async moe(d) {
    const [tokens, hidden, inner, experts, topK] = [d.int(1, 40), d.depth(), d.depth(), 3, 2];
    const [x, gate, up, down] = [
      await d.rows(tokens, hidden),
      await d.experts(experts, inner, hidden),
      await d.experts(experts, inner, hidden),
      await d.experts(experts, hidden, inner),
    ];
    const ids = Array.from({ length: tokens * topK }, () => d.int(0, experts - 1));
    const shares = randomArray(tokens * topK, 7).map(Math.abs);
    const y = ops.moe(
      x.tensor,
      { gate: together(gate), up: together(up), down: together(down) },
      {
        ids: d.device.tensor(ids, [tokens, topK], "i32"),
        weights: d.device.tensor(shares, [tokens, topK]),
        zeroWeight: d.device.zeros([tokens]),
        experts,
        zeroExperts: 0,
      },
    );
    const expected = new Float64Array(tokens * hidden);
    for (const [i, e] of ids.entries()) {
      const t = Math.floor(i / topK);
      const row = x.values.slice(t * hidden, (t + 1) * hidden);
      const inside = gated(row, gate[e]!.values, up[e]!.values, hidden);
      for (const [c, v] of product(inside, down[e]!.values, inner).entries())
        expected[t * hidden + c]! += shares[i]! * v;
    }
    return [y, expected];
  },
};

describe.each(allDevices)("random codes on $name", (device) => {
  const rounds = Number(process.env.CARACAL_TEST_ROUNDS ?? 6);
  const seeds = Array.from({ length: rounds }, (_, i) => i + 1);

  test.each(Object.keys(cases))("%s is what the weights say", async (name) => {
    for (const seed of seeds) {
      const draw = new Draw(device, seed);
      const [y, expected, tolerance = draw.tolerance] = await cases[name]!(draw);
      const error = relativeError(await y.toFloat32Array(), expected);
      expect(error, `seed ${seed}: ${draw.dtype} by ${JSON.stringify(draw.form)}`).toBeLessThan(tolerance);
    }
  });

  test.each([
    ["f32", 2],
    ["bf16", 2],
    ["bf16", 20],
  ] as const)("a scale or bias that is no number shows in its own column alone (%s, %i rows)", async (dtype, m) => {
    const [n, k, group] = [24, 128, 32];
    const codes = device.tensor(
      Uint8Array.from(randomArray((n * k) / 2, 1), (v) => (v + 1) * 128),
      [n, k / 2],
      "u8",
    ) as Tensor<"u8", readonly [number, number]>;
    const x = device.tensor(randomArray(m * k, 2), [m, k], dtype);
    const run = async (scale: Float32Array, bias: Float32Array) => {
      const tensor = (values: Float32Array) => device.tensor(values, [n, k / group], "bf16");
      const w = ops.packWeight(codes, { bits: 4, scale: tensor(scale), bias: tensor(bias) });
      return await ops.linear(x, w, { outDtype: "f32" }).toFloat32Array();
    };
    const [scale, bias] = [randomArray((n * k) / group, 3), randomArray((n * k) / group, 4)];
    const [column, at] = [5, (5 * k) / group + 2];
    const whole = await run(scale, bias);
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
      for (const damaged of [await run(scale.with(at, value), bias), await run(scale, bias.with(at, value))]) {
        expect(damaged.filter((_, i) => i % n === column).some(Number.isFinite)).toBe(false);
        expect(damaged.filter((_, i) => i % n !== column)).toEqual(whole.filter((_, i) => i % n !== column));
      }
  });
});
