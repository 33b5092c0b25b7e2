// Operations of random sizes, dtypes and options on the CUDA backend, compared with the CPU.
// CARACAL_TEST_ROUNDS=100 runs more rounds than a test's few.
import { describe, expect, test } from "vitest";
import * as ops from "../../lib/ops/index.js";
import type { Device, Tensor } from "../../lib/tensor/tensor.js";
import { type CodeForm, codeExperts, codeWeight } from "../support/codes.js";
import { cuda, devices } from "../support/devices.js";
import { randomArray, relativeError, uniform } from "../support/numbers.js";

type Rows = "f32" | "bf16";

/** Draws the inputs of a case, the same on every device for the same seed. */
class Draw {
  readonly #next: () => number;
  /** Whether a drawn dtype is so narrow that results agree only approximately. */
  narrow = false;

  constructor(
    readonly device: Device,
    seed: number,
  ) {
    this.#next = uniform(seed);
  }
  /** From low to high, inclusive. */
  int = (low: number, high: number) => low + Math.floor(((this.#next() + 1) / 2) * (high - low + 1));
  pick = <T>(...from: readonly T[]): T => from[this.int(0, from.length - 1)]!;
  maybe = <T>(make: () => T): T | undefined => (this.int(0, 1) ? make() : undefined);
  ints = (count: number, low: number, high: number) => Array.from({ length: count }, () => this.int(low, high));
  i32 = (values: readonly number[], ...shape: number[]) =>
    this.device.tensor([...values], shape.length > 0 ? shape : [values.length], "i32") as never;
  rows(): Rows {
    const dtype = this.pick("f32", "bf16");
    this.narrow ||= dtype === "bf16";
    return dtype;
  }
  tensor(dtype: Rows, ...shape: number[]) {
    const values = randomArray(
      shape.reduce((n, d) => n * d, 1),
      this.int(1, 1e6),
    );
    return this.device.tensor(values, shape, dtype) as Tensor as never;
  }
  /** A packed weight. */
  weight(dtype: Rows | "f8e4m3", n: number, k: number) {
    if (dtype !== "f8e4m3") return ops.packWeight(this.tensor(dtype, n, k)) as never;
    const shape = [Math.ceil(n / 128), Math.ceil(k / 128)] as const;
    const scale = randomArray(shape[0] * shape[1], this.int(1, 1e6)).map((v) => (0.1 + Math.abs(v)) / 448);
    const codes = this.device.tensor(randomArray(n * k, this.int(1, 1e6), 448), [n, k], "f8e4m3");
    return ops.packWeight(codes, { scale: this.device.tensor(scale, shape) }) as never;
  }
  /** How random codes are stored. */
  codes(): CodeForm {
    return {
      bits: this.pick(2, 3, 4, 5, 6, 8),
      group: this.pick(32, 64, 128),
      scales: this.pick("f32", "bf16", "f16"),
      biases: this.int(0, 1) === 1,
    };
  }
  /** The first rows of packed sequences of these lengths. */
  starts(lengths: readonly number[]) {
    const starts = [0];
    for (const length of lengths) starts.push(starts.at(-1)! + length);
    return this.i32(starts);
  }
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

function mla(d: Draw, queries: readonly number[], keys: readonly number[]) {
  const dtype = d.rows();
  const [nope, rope, value, latent] = d.pick([128, 64, 128, 512], [128, 64, 128, 72], [24, 8, 40, 56]);
  const heads = d.int(1, 6);
  const blockSize = d.pick(4, 16, 64);
  const blocks = keys.map((n) => Math.ceil(n / blockSize));
  const width = Math.max(1, ...blocks);
  let free = 0;
  const table = blocks.flatMap((n) => Array.from({ length: width }, (_, b) => (b < n ? free++ : -7)));
  return {
    q: d.tensor(dtype, sum(queries), heads, nope! + rope!),
    wKvB: d.weight(d.pick("f32", "bf16", "f8e4m3"), heads * (nope! + value!), latent!),
    cache: d.tensor(dtype, Math.max(1, free), blockSize, latent! + rope!),
    blockTable: d.i32(table, keys.length, width),
    seqLens: d.i32(keys),
    heads,
    nopeDim: nope!,
    ropeDim: rope!,
    vDim: value!,
  };
}

function conv(d: Draw) {
  const dtype = d.rows();
  const groups = d.pick(1, 1, 1, 2, 3);
  const [channels, outputs] = [groups * d.int(1, 40), groups * d.int(1, 70)];
  const [taps, dilation, stride] = [d.int(1, 7), d.int(1, 4), d.int(1, 3)];
  const x = d.tensor(dtype, d.int(0, 90), channels);
  const w = d.tensor(d.rows(), outputs, channels / groups, taps);
  const padding = d.pick<ops.ConvPadding>("causal", "symmetric", [d.int(0, 3), d.int(0, 9)]);
  const bias = d.maybe(() => d.tensor("f32", outputs));
  const after = d.pick(
    {},
    { activation: d.pick("gelu" as const, "relu" as const, "tanh" as const) },
    { snake: d.tensor("f32", outputs) },
  );
  return [
    ops.conv1d(x, d.pick(w, ops.packConv1d(w, { groups })), { groups, dilation, stride, padding, bias, ...after }),
  ];
}

const cases: Readonly<Record<string, (d: Draw) => Tensor[]>> = {
  linear(d) {
    const [m, n, k] = [d.int(0, 90), d.int(1, 150), d.int(1, 220)];
    const x = d.rows();
    const outDtype = d.rows();
    return [
      ops.linear(d.tensor(x, m, k), d.weight(d.pick("f32", "bf16", "f8e4m3"), n, k), {
        outDtype,
        bias: d.maybe(() => d.tensor(d.rows(), n)),
        activation: d.pick("none" as const, "relu" as const, "gelu" as const, "silu" as const),
        layerScale: d.maybe(() => d.tensor("f32", n)),
        residual: d.maybe(() => d.tensor(outDtype, m, n)),
      } as never),
    ];
  },
  swiglu(d) {
    const [m, n, k] = [d.int(0, 60), d.int(1, 150), d.int(1, 200)];
    const w = d.pick("f32" as const, "bf16" as const, "f8e4m3" as const);
    return [ops.swiglu(d.tensor(d.rows(), m, k), d.weight(w, n, k), d.weight(w, n, k))];
  },
  codes(d) {
    const [form, groups] = [d.codes(), d.int(1, 5)];
    const [m, n, k] = [d.int(0, 90), d.int(1, 150), groups * form.group];
    const matrix = () => codeWeight(d.device, form, n, k, d.int(1, 1e6)) as never;
    const counts = d.ints(d.int(1, 5), 0, 40);
    const experts = () => codeExperts(d.device, form, n, k, d.ints(counts.length, 1, 1e6)) as never;
    const [x, slots] = [d.tensor(d.rows(), m, k), d.tensor(d.rows(), sum(counts) + d.int(0, 9), k)];
    return [
      ops.linear(x, matrix(), { activation: d.pick("none" as const, "gelu" as const) }),
      ops.swiglu(x, matrix(), matrix()),
      ops.groupedGemm(slots, experts(), d.starts(counts)),
      ops.groupedSwiglu(slots, experts(), experts(), d.starts(counts)),
    ];
  },
  moe(d) {
    const [tokens, hidden, inner, experts, zeroExperts] = [
      d.int(1, 70),
      d.int(1, 90),
      d.int(1, 60),
      d.int(1, 9),
      d.int(1, 5),
    ];
    const topK = d.int(1, 5);
    // Ids of all experts, of one, of zero experts only, or of none.
    const [low, high] = d.pick([-1, experts + zeroExperts - 1], [0, 0], [experts, experts + zeroExperts - 1], [-1, -1]);
    const stored = d.pick("f32" as const, "bf16" as const, "f8e4m3" as const);
    const pack = (n: number, k: number) => {
      const scale =
        stored === "f8e4m3"
          ? Array.from({ length: experts }, () => d.tensor("f32", Math.ceil(n / 128), Math.ceil(k / 128)))
          : undefined;
      const plain = Array.from({ length: experts }, () =>
        stored === "f8e4m3"
          ? d.device.tensor(randomArray(n * k, d.int(1, 1e6), 4), [n, k], stored)
          : d.tensor(stored, n, k),
      );
      return ops.packWeights(plain as never, (scale ? { scales: scale } : {}) as never) as never;
    };
    const weights = { gate: pack(inner, hidden), up: pack(inner, hidden), down: pack(hidden, inner) };
    const routing = {
      ids: d.i32(d.ints(tokens * topK, low!, high!), tokens, topK),
      weights: d.tensor("f32", tokens, topK),
      zeroWeight: d.tensor("f32", tokens),
      experts,
      zeroExperts,
    };
    return [ops.moe(d.tensor(d.rows(), tokens, hidden), weights, routing)];
  },
  router(d) {
    const [experts, zeroExperts, tokens, hidden] = [d.int(1, 70), d.int(0, 30), d.int(0, 80), d.int(1, 150)];
    const options = {
      topK: d.int(1, Math.min(16, experts + zeroExperts)),
      experts,
      zeroExperts,
      scale: 6,
      renormalize: d.pick(false, true),
      scaleZeroExperts: d.pick(false, true),
    };
    const bias = d.maybe(() => d.tensor("f32", experts + zeroExperts));
    const routing = ops.router(
      d.tensor(d.rows(), tokens, hidden),
      d.tensor(d.rows(), experts + zeroExperts, hidden),
      bias,
      options,
    );
    return [routing.ids, routing.weights, routing.zeroWeight];
  },
  attention(d) {
    const lengths = d.ints(d.int(1, 4), 0, 70);
    const [heads, depth, dtype] = [d.int(1, 3), d.pick(8, 40, 64, 80, 128), d.rows()];
    const [q, k, v] = [1, 2, 3].map(() => d.tensor(dtype, sum(lengths), heads, depth));
    return [ops.attention(q!, k!, v!, { cuSeqlens: d.starts(lengths), causal: d.pick(true, false) })];
  },
  vitAttention(d) {
    const lengths = d.ints(d.int(1, 3), 0, 60);
    const [heads, depth, norm] = [d.int(1, 4), d.pick(8, 16, 80), d.rows()];
    const rows = sum(lengths);
    return [
      ops.vitAttention(d.tensor(d.rows(), rows, 3 * heads * depth), {
        heads,
        cuSeqlens: d.starts(lengths),
        positions: d.i32(d.ints(2 * rows, 0, 40), rows, 2),
        qNorm: d.tensor(norm, heads * depth),
        kNorm: d.tensor(norm, heads * depth),
      }),
    ];
  },
  mlaPrefill(d) {
    const queries = d.ints(d.int(1, 3), 0, 50);
    const operands = mla(
      d,
      queries,
      queries.map((n) => n + d.int(0, 60)),
    );
    return [ops.mlaPrefill({ ...operands, cuSeqlens: d.starts(queries) })];
  },
  mlaDecode(d) {
    const keys = d.ints(d.int(1, 20), 1, d.pick(5, 70, 600));
    const { o } = ops.mlaDecode(
      mla(
        d,
        keys.map(() => 1),
        keys,
      ),
    );
    return [o];
  },
  conv1d: conv,
  convTranspose1d(d) {
    const [channels, outputs, taps, stride] = [d.int(1, 40), d.int(1, 30), d.int(1, 9), d.int(1, 6)];
    const w = d.tensor(d.rows(), channels, outputs, taps);
    const bias = d.maybe(() => d.tensor("f32", outputs));
    const x = d.tensor(d.rows(), d.int(1, 40), channels);
    return [ops.convTranspose1d(x, d.pick(w, ops.packConvTranspose1d(w)), { stride, bias })];
  },
  lstm(d) {
    const [rows, inputs, size] = [d.int(0, 9), d.int(1, 40), d.int(1, 5) * 16];
    const w = d.rows();
    const state = { h: d.device.zeros([size]), c: d.device.zeros([size]) };
    return [
      ops.lstm(d.tensor(d.rows(), rows, inputs), {
        wIh: d.weight(w, 4 * size, inputs),
        wHh: d.weight(w, 4 * size, size),
        bIh: d.maybe(() => d.tensor("f32", 4 * size)),
        ...state,
      }),
      state.h,
      state.c,
    ];
  },
  fsmnMemory(d) {
    const [rows, channels, dtype] = [d.int(0, 60), d.int(1, 90), d.rows()];
    const orders = { leftOrder: d.int(0, 9), rightOrder: d.int(0, 3), leftStride: d.int(1, 3) };
    const x = d.tensor(dtype, rows, channels);
    return [
      ops.fsmnMemory(x, d.tensor(d.rows(), channels, orders.leftOrder + 1 + orders.rightOrder), {
        ...orders,
        norm: d.maybe(() => ({ weight: d.tensor("f32", channels), bias: d.maybe(() => d.tensor("f32", channels)) })),
        residual: d.maybe(() => x),
      }),
    ];
  },
  fbank(d) {
    const wave = randomArray(d.int(0, 4000), d.int(1, 1e6), 20000);
    return [ops.fbank(d.device.tensor(wave, [wave.length]))];
  },
  sample(d) {
    const [rows, vocabulary] = [d.int(1, 4), d.int(1, 6000)];
    const logits = d.device.tensor(
      randomArray(rows * vocabulary, d.int(1, 1e6), 8),
      [rows, vocabulary],
      d.pick("f32", "bf16"),
    );
    return [
      ops.sample(logits, {
        temperature: d.pick(0, 0.7, 1.5),
        topK: d.pick(0, 1, 50, 300),
        topP: d.pick(0.3, 0.9, 1),
        seed: d.int(0, 1e6),
        step: d.int(0, 99),
      }),
    ];
  },
};

describe.skipIf(!cuda)("random operations on CUDA alone", () => {
  const rounds = Number(process.env.CARACAL_TEST_ROUNDS ?? 4);
  const seeds = Array.from({ length: rounds }, (_, i) => i + 1);

  test.each(Object.keys(cases))("%s equals the CPU's result, repeatably", async (name) => {
    for (const seed of seeds) {
      const run = async (device: Device) => {
        const draw = new Draw(device, seed);
        const results = device.scope(() => cases[name]!(draw));
        const values = await Promise.all(results.map((y) => y.toFloat32Array()));
        for (const y of results) y.dispose();
        return { values, ids: results.map(({ dtype }) => dtype === "i32"), narrow: draw.narrow };
      };
      const { values, ids, narrow } = await run(cuda!);
      const expected = await run(devices.at(-1)!);
      for (const [i, y] of values.entries()) {
        const error = relativeError(y, expected.values[i]!);
        if (ids[i]) expect(y, `seed ${seed}, ids ${i}`).toEqual(expected.values[i]);
        expect(error, `seed ${seed}, result ${i}`).toBeLessThan(narrow ? 1e-2 : 1e-5);
      }
      expect((await run(cuda!)).values, `seed ${seed}`).toEqual(values);
    }
  });
});
