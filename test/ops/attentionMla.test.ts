import { describe, expect, test } from "vitest";
import { mlaCacheWrite, mlaDecode, mlaPrefill, rope } from "../../lib/ops/attention.js";
import { linear, packWeight } from "../../lib/ops/linear.js";
import { rmsNorm } from "../../lib/ops/norm.js";
import type { PackedWeight } from "../../lib/tensor/packedWeight.js";
import { Device, type Tensor } from "../../lib/tensor/tensor.js";
import { allDevices } from "../support/devices.js";
import { readGolden } from "../support/golden.js";
import { bf16, randomArray, relativeError, uniform } from "../support/numbers.js";

interface Sizes {
  readonly heads: number;
  readonly nope: number;
  readonly rope: number;
  readonly value: number;
  readonly latent: number;
}
const small: Sizes = { heads: 2, nope: 8, rope: 4, value: 8, latent: 16 };

/** Sequences of `keys` tokens, the last `queries` of which are new. */
interface Batch {
  readonly sizes: Sizes;
  readonly sequences: readonly { readonly queries: number; readonly keys: number }[];
  readonly blockSize: number;
  readonly q: Float32Array;
  readonly weight: Float32Array;
  /** The cache rows of each sequence, `[keys, latent + rope]`. */
  readonly rows: readonly Float32Array[];
}

function randomBatch(
  sizes: Sizes,
  sequences: Batch["sequences"],
  { blockSize = 16, seed = 1, round = false } = {},
): Batch {
  const width = sizes.latent + sizes.rope;
  const queries = sequences.reduce((sum, s) => sum + s.queries, 0);
  const make = (n: number, s: number, scale: number) => {
    const values = randomArray(n, seed * 100 + s, scale);
    return round ? values.map(bf16) : values;
  };
  return {
    sizes,
    sequences,
    blockSize,
    q: make(queries * sizes.heads * (sizes.nope + sizes.rope), 1, 2),
    weight: make(sizes.heads * (sizes.nope + sizes.value) * sizes.latent, 2, 1),
    rows: sequences.map(({ keys }, i) => make(keys * width, 3 + i, 1)),
  };
}

/** The definition in f64: expands the latents to keys and values of every head, then applies causal attention. */
function reference({ sizes, sequences, q, weight, rows }: Batch): { o: number[]; lse: number[] } {
  const { heads, nope, rope, value, latent } = sizes;
  const depth = nope + rope;
  const o: number[] = [];
  const lse: number[] = [];
  let query = 0;
  sequences.forEach(({ queries, keys }, s) => {
    const product = (column: number, token: number) => {
      let sum = 0;
      for (let r = 0; r < latent; r++) sum += weight[column * latent + r]! * rows[s]![token * (latent + rope) + r]!;
      return sum;
    };
    const expanded = Array.from({ length: keys }, (_, t) =>
      Array.from({ length: heads * (nope + value) }, (_, n) => product(n, t)),
    );
    for (let i = 0; i < queries; i++, query++) {
      for (let h = 0; h < heads; h++) {
        const base = h * (nope + value);
        const at = (query * heads + h) * depth;
        const scores = expanded.slice(0, keys - queries + i + 1).map((columns, t) => {
          let dot = 0;
          for (let d = 0; d < nope; d++) dot += q[at + d]! * columns[base + d]!;
          for (let d = 0; d < rope; d++) dot += q[at + nope + d]! * rows[s]![t * (latent + rope) + latent + d]!;
          return dot / Math.sqrt(depth);
        });
        const max = Math.max(...scores);
        const weights = scores.map((x) => Math.exp(x - max));
        const sum = weights.reduce((a, b) => a + b, 0);
        lse.push(max + Math.log(sum));
        for (let v = 0; v < value; v++)
          o.push(weights.reduce((a, w, t) => a + w * expanded[t]![base + nope + v]!, 0) / sum);
      }
    }
  });
  return { o, lse };
}

type Dtype = "f32" | "bf16";
interface Overrides {
  readonly cacheDtype?: Dtype;
  readonly dtype?: Dtype;
  readonly weight?: PackedWeight<"f32" | "bf16" | "f8e4m3">;
  readonly blockTable?: Tensor<"i32">;
  readonly seqLens?: readonly number[];
  readonly cuSeqlens?: readonly number[];
}

/** A paged cache with shuffled blocks, NaN in unused rows, and invalid table entries past the blocks in use. */
function onDevice(device: Device, batch: Batch, { cacheDtype = "f32", dtype = "f32", ...other }: Overrides = {}) {
  const { sizes, sequences, blockSize, rows } = batch;
  const width = sizes.latent + sizes.rope;
  const blocksOf = sequences.map(({ keys }) => Math.ceil(keys / blockSize));
  const total = blocksOf.reduce((a, b) => a + b, 0) + 2;
  const next = uniform(5);
  const free = Array.from({ length: total }, (_, i) => i).sort(() => next());
  const cache = new Float32Array(total * blockSize * width).fill(Number.NaN);
  const tableWidth = Math.max(1, ...blocksOf) + 1;
  const table = new Int32Array(sequences.length * tableWidth).fill(2147480000);
  sequences.forEach(({ keys }, s) => {
    for (let b = 0; b < blocksOf[s]!; b++) table[s * tableWidth + b] = free.pop()!;
    for (let t = 0; t < keys; t++) {
      const slot = table[s * tableWidth + Math.floor(t / blockSize)]! * blockSize + (t % blockSize);
      cache.set(rows[s]!.subarray(t * width, (t + 1) * width), slot * width);
    }
  });
  const starts = [0];
  for (const { queries } of sequences) starts.push(starts.at(-1)! + queries);
  const i32 = (values: readonly number[]) => device.tensor([...values], [values.length], "i32");
  const { heads, nope, rope, value, latent } = sizes;
  const plain = device.tensor(batch.weight, [heads * (nope + value), latent]);
  return {
    q: device.tensor(batch.q, [starts.at(-1)!, heads, nope + rope], dtype),
    wKvB: other.weight ?? packWeight(plain),
    cache: device.tensor(cache, [total, blockSize, width], cacheDtype),
    blockTable: other.blockTable ?? device.tensor(table, [sequences.length, tableWidth], "i32"),
    cuSeqlens: i32(other.cuSeqlens ?? starts),
    seqLens: i32(other.seqLens ?? sequences.map(({ keys }) => keys)),
    heads,
    nopeDim: nope,
    ropeDim: rope,
    vDim: value,
  };
}

async function prefill(device: Device, batch: Batch, overrides: Overrides = {}): Promise<Float32Array> {
  using out = mlaPrefill(onDevice(device, batch, overrides));
  return out.toFloat32Array();
}

async function decode(device: Device, batch: Batch, overrides: Overrides = {}) {
  const { cuSeqlens: _, ...options } = onDevice(device, batch, overrides);
  const { o, lse } = mlaDecode(options);
  return { o: await o.toFloat32Array(), lse: await lse.toFloat32Array() };
}

/** The batch with only the last query of each sequence. */
function lastQueries(batch: Batch): Batch {
  const width = batch.sizes.heads * (batch.sizes.nope + batch.sizes.rope);
  let end = 0;
  const q = batch.sequences.flatMap(({ queries }) => {
    end += queries;
    return [...batch.q.subarray((end - 1) * width, end * width)];
  });
  return { ...batch, q: Float32Array.from(q), sequences: batch.sequences.map(({ keys }) => ({ queries: 1, keys })) };
}

const shapes: readonly (readonly [Sizes, Batch["sequences"]])[] = [
  [{ heads: 1, nope: 8, rope: 4, value: 8, latent: 16 }, [{ queries: 1, keys: 1 }]],
  [
    { heads: 3, nope: 12, rope: 8, value: 20, latent: 24 },
    [
      { queries: 5, keys: 5 },
      { queries: 1, keys: 40 },
    ],
  ],
  [
    { heads: 4, nope: 16, rope: 8, value: 16, latent: 16 },
    [
      { queries: 7, keys: 30 },
      { queries: 3, keys: 17 },
    ],
  ],
  [{ heads: 16, nope: 16, rope: 4, value: 8, latent: 12 }, [{ queries: 2, keys: 70 }]],
  [small, [{ queries: 50, keys: 290 }]],
];

describe.each(allDevices)("mlaPrefill and mlaDecode on $name", (device) => {
  test.each(shapes)("match the definition: %o %o", async (sizes, sequences) => {
    const batch = randomBatch(sizes, sequences);
    expect(relativeError(await prefill(device, batch), reference(batch).o)).toBeLessThan(2e-6);
    const last = lastQueries(batch);
    const expected = reference(last);
    const { o, lse } = await decode(device, last);
    expect(relativeError(o, expected.o)).toBeLessThan(2e-6);
    expect(relativeError(lse, expected.lse)).toBeLessThan(2e-6);
  });

  test("the absorbed form matches the naive one over a long context", async () => {
    const batch = randomBatch(
      small,
      [
        { queries: 1, keys: 1300 },
        { queries: 1, keys: 513 },
      ],
      { blockSize: 64 },
    );
    const { o } = await decode(device, batch);
    expect(relativeError(o, await prefill(device, batch))).toBeLessThan(1e-5);
  });

  test("bf16 queries, weights and cache", async () => {
    const batch = randomBatch(shapes[2]![0], shapes[2]![1], { round: true });
    const { heads, nope, value, latent } = batch.sizes;
    const weight = packWeight(device.tensor(batch.weight, [heads * (nope + value), latent], "bf16"));
    const narrow: Overrides = { dtype: "bf16", cacheDtype: "bf16", weight };
    expect(relativeError(await prefill(device, batch, narrow), reference(batch).o)).toBeLessThan(3e-3);
    const last = lastQueries(batch);
    const { o, lse } = await decode(device, last, narrow);
    expect(relativeError(o, reference(last).o)).toBeLessThan(3e-3);
    expect(relativeError(lse, reference(last).lse)).toBeLessThan(2e-6);
  });

  test.each([
    [16, 16],
    [96, 72],
  ])("f8e4m3 weights with block scales, heads of %i + %i rows", async (nope, value) => {
    const sizes = { heads: 3, nope, rope: 4, value, latent: 140 };
    const [n, k] = [sizes.heads * (nope + value), sizes.latent];
    const stored = device.tensor(
      Uint8Array.from(randomArray(n * k, 3), (v) => (v < 0 ? 0x80 : 0) + Math.floor(Math.abs(v) * 0x58)),
      [n, k],
      "f8e4m3",
    );
    const scales = randomArray(Math.ceil(n / 128) * 2, 4).map((v) => v * 0.1 + 0.2);
    const values = await stored.toFloat32Array();
    const weight = values.map((v, i) => v * scales[Math.floor(i / k / 128) * 2 + Math.floor((i % k) / 128)]!);
    const batch = {
      ...randomBatch(sizes, [
        { queries: 3, keys: 9 },
        { queries: 1, keys: 20 },
      ]),
      weight,
    };
    const packed = packWeight(stored, { scale: device.tensor(scales, [Math.ceil(n / 128), 2]) });
    expect(relativeError(await prefill(device, batch, { weight: packed }), reference(batch).o)).toBeLessThan(5e-6);
    const last = lastQueries(batch);
    expect(relativeError((await decode(device, last, { weight: packed })).o, reference(last).o)).toBeLessThan(5e-6);
  });

  test("a prompt in chunks has the same bits as the whole prompt", async () => {
    const whole = randomBatch(small, [{ queries: 300, keys: 300 }]);
    const expected = await prefill(device, whole);
    const [width, columns] = [2 * 12, 2 * 8];
    let from = 0;
    for (const to of [1, 100, 257, 300]) {
      const chunk = {
        ...whole,
        q: whole.q.slice(from * width, to * width),
        rows: [whole.rows[0]!.slice(0, to * 20)],
        sequences: [{ queries: to - from, keys: to }],
      };
      expect(await prefill(device, chunk)).toEqual(expected.slice(from * columns, to * columns));
      from = to;
    }
  });

  test("packing sequences does not change their bits", async () => {
    const sequences = [3, 0, 60, 1, 20].map((queries, i) => ({ queries, keys: queries + 10 * i }));
    const batch = randomBatch(small, sequences);
    const packed = await prefill(device, batch);
    let row = 0;
    for (const [s, sequence] of sequences.entries()) {
      const end = row + sequence.queries;
      const alone = { ...batch, q: batch.q.slice(row * 24, end * 24), sequences: [sequence], rows: [batch.rows[s]!] };
      expect(await prefill(device, alone)).toEqual(packed.slice(row * 16, end * 16));
      row = end;
    }
  });

  test("decoding sequences together does not change their bits", async () => {
    const sequences = [13, 600, 0, 64, 1, 90].map((keys) => ({ queries: 1, keys }));
    const batch = randomBatch(small, sequences);
    const { o, lse } = await decode(device, batch);
    for (const [s, sequence] of sequences.entries()) {
      const alone = { ...batch, q: batch.q.slice(s * 24, s * 24 + 24), sequences: [sequence], rows: [batch.rows[s]!] };
      const one = await decode(device, alone);
      expect(one.o).toEqual(o.slice(s * 16, s * 16 + 16));
      expect(one.lse).toEqual(lse.slice(s * 2, s * 2 + 2));
    }
  });

  test("no sequences and empty sequences", async () => {
    const none = randomBatch(small, []);
    expect(await prefill(device, none)).toHaveLength(0);
    expect((await decode(device, none)).o).toHaveLength(0);
    const empty = {
      ...randomBatch(small, [
        { queries: 1, keys: 0 },
        { queries: 1, keys: 3 },
      ]),
    };
    const { o, lse } = await decode(device, empty);
    expect([...o.slice(0, 16)]).toEqual(Array(16).fill(0));
    expect([...lse.slice(0, 2)]).toEqual([-Infinity, -Infinity]);
    expect(o.slice(16).some((v) => v !== 0)).toBe(true);
  });

  test("bad input is refused", async () => {
    const batch = randomBatch(small, [{ queries: 1, keys: 20 }]);
    const { cuSeqlens, ...decoded } = onDevice(device, batch);
    const good = { cuSeqlens, ...decoded };
    const refused = (change: object, code: string) => {
      const error = expect.objectContaining({ code });
      expect(() => mlaPrefill({ ...good, ...change })).toThrowError(error);
      if (!("cuSeqlens" in change)) expect(() => mlaDecode({ ...decoded, ...change })).toThrowError(error);
    };
    refused({ heads: 3 }, "SHAPE_MISMATCH");
    refused({ heads: 0 }, "INVALID_ARGUMENT");
    refused({ vDim: 9 }, "SHAPE_MISMATCH");
    refused({ q: device.zeros([1, 2, 13]) }, "SHAPE_MISMATCH");
    refused({ q: device.zeros([1, 2, 12], "f16") }, "DTYPE_MISMATCH");
    refused({ cache: device.zeros([4, 16, 21]) }, "SHAPE_MISMATCH");
    refused({ blockTable: device.zeros([1, 2]) }, "DTYPE_MISMATCH");
    refused({ seqLens: device.zeros([2], "i32") }, "SHAPE_MISMATCH");
    refused({ cuSeqlens: device.zeros([3], "i32") }, "SHAPE_MISMATCH");
    refused({ scale: 0 }, "INVALID_ARGUMENT");
    refused({ wKvB: device.zeros([32, 16], "f8e4m3") }, "INVALID_ARGUMENT");
    const table = (...blocks: number[]) => device.tensor(blocks, [1, blocks.length], "i32");
    const unreadable: Overrides[] = [
      { seqLens: [-1] },
      { seqLens: [49] },
      { seqLens: [2 ** 31 - 1] },
      { blockTable: table(0, 4) },
      { blockTable: table(-1, 1) },
      { blockTable: table(1) },
    ];
    const outOfRange = expect.objectContaining({ code: "INDEX_OUT_OF_RANGE" });
    for (const overrides of unreadable) {
      await expect(decode(device, batch, overrides)).rejects.toThrow(outOfRange);
      await expect(prefill(device, batch, overrides)).rejects.toThrow(outOfRange);
    }
    for (const overrides of [{ seqLens: [0] }, { cuSeqlens: [0, 2] }, { cuSeqlens: [1, 1] }, { cuSeqlens: [0, -1] }])
      await expect(prefill(device, batch, overrides)).rejects.toThrow(outOfRange);
  });
});

test("bits do not depend on the number of threads", async () => {
  const batch = randomBatch({ ...small, heads: 30 }, [
    { queries: 20, keys: 290 },
    { queries: 70, keys: 70 },
  ]);
  const results = [];
  for (const threads of [1, 2, 3]) {
    await using device = await Device.open({ backend: "cpu", threads });
    results.push([await prefill(device, batch), await decode(device, lastQueries(batch))]);
  }
  expect(results[1]).toEqual(results[0]);
  expect(results[2]).toEqual(results[0]);
});

describe.each(allDevices)("latent attention on $name", (device) => {
  test("matches the published implementation", async () => {
    const golden = readGolden("longcat_flash");
    const values = (name: string) => golden.f32(`weight.model.layers.0.${name}.weight`);
    const matrix = <N extends number, K extends number>(name: string, n: N, k: K) =>
      device.tensor(values(`self_attn.0.${name}`), [n, k]);
    const vector = (x: Float32Array, factor = 1) =>
      device.tensor(
        x.map((v) => v * factor),
        [x.length],
      );
    const ids = golden.i32("input.input_ids");
    const table = golden.f32("weight.model.embed_tokens.weight");
    const tokens = ids.length;
    const x = Float32Array.from([...ids].flatMap((id) => [...table.subarray(id * 64, id * 64 + 64)]));
    const positions = device.tensor([...ids.keys()], [tokens], "i32");
    const n = rmsNorm(device.tensor(x, [tokens, 64]), vector(values("input_layernorm.0")), { eps: 1e-5 });
    const qNorm = vector(values("self_attn.0.q_a_layernorm"), Math.sqrt(64 / 24));
    const compressed = rmsNorm(linear(n, matrix("q_a_proj", 24, 64)), qNorm, { eps: 1e-6 });
    const q = linear(compressed, matrix("q_b_proj", 96, 24)).reshape([tokens, 4, 24]);
    const cache = device.zeros([1, tokens, 24]);
    mlaCacheWrite({
      kv: linear(n, matrix("kv_a_proj_with_mqa", 24, 64)),
      normWeight: vector(values("self_attn.0.kv_a_layernorm")),
      positions,
      slots: positions,
      cache,
      eps: 1e-6,
      scale: Math.sqrt(64 / 16),
      theta: 1e7,
    });
    const o = mlaPrefill({
      q: rope(q, positions, { theta: 1e7, ropeDim: 8 }),
      wKvB: matrix("kv_b_proj", 128, 16),
      cache,
      blockTable: device.tensor([0], [1, 1], "i32"),
      cuSeqlens: device.tensor([0, tokens], [2], "i32"),
      seqLens: device.tensor([tokens], [1], "i32"),
      heads: 4,
      nopeDim: 16,
      ropeDim: 8,
      vDim: 16,
    });
    const out = await linear(o, matrix("o_proj", 64, 64)).toFloat32Array();
    expect(relativeError(out, golden.f32("expected.layer0.attn0"))).toBeLessThan(1e-5);
  });
});
