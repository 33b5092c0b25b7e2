import { describe, expect, test } from "vitest";
import { maskRows, splitColumns } from "../../lib/ops/rows.js";
import { argmax, repetitionPenalty, type SampleOptions, sample } from "../../lib/ops/sampling.js";
import { Device } from "../../lib/tensor/tensor.js";
import { allDevices, cuda } from "../support/devices.js";
import { code } from "../support/errors.js";
import { readGolden } from "../support/golden.js";
import { bf16, randomArray, relativeError } from "../support/numbers.js";

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

function philox(counter: number[], key: number[]): number[] {
  const mask = 0xffffffffn;
  let c = counter.map(BigInt);
  let [k0, k1] = key.map(BigInt) as [bigint, bigint];
  for (let round = 0; round < 10; round++) {
    const a = 0xd2511f53n * c[0]!;
    const b = 0xcd9e8d57n * c[2]!;
    c = [(b >> 32n) ^ c[1]! ^ k0, b & mask, (a >> 32n) ^ c[3]! ^ k1, a & mask];
    k0 = (k0 + 0x9e3779b9n) & mask;
    k1 = (k1 + 0xbb67ae85n) & mask;
  }
  return c.map(Number);
}

function referenceUniform(seed: number, step: number, stream: number): number {
  const halves = (v: number) => [v >>> 0, Math.floor(v / 2 ** 32)];
  const [high, low] = philox([...halves(step), stream, 0], halves(seed)) as [number, number];
  return (high * 2 ** 21 + Math.floor(low / 2 ** 11)) / 2 ** 53;
}

/** The probabilities that `sample` draws from, by sorting. */
function referenceProbabilities(logits: ArrayLike<number>, temperature = 1, topK = 0, topP = 1): Float64Array {
  const order = Array.from(logits, (_, i) => i).sort((a, b) => logits[b]! - logits[a]! || a - b);
  const kept = order.slice(0, topK || order.length);
  const p = new Float64Array(logits.length);
  for (const i of kept) p[i] = Math.exp((logits[i]! - logits[order[0]!]!) / temperature);
  const target = topP * p.reduce((s, v) => s + v, 0);
  let sum = 0;
  for (const i of kept) {
    if (topP < 1 && sum >= target) p[i] = 0;
    else sum += p[i]!;
  }
  return p.map((v) => v / sum);
}

function referenceDraw(p: Float64Array, u: number): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    sum += p[i]!;
    if (sum > u) return i;
  }
  return p.findLastIndex((v) => v > 0);
}

describe.each(allDevices)("sampling on $name", (device) => {
  test("the published speech heads: penalty over the last 30 ids of each book, then argmax", async () => {
    const golden = readGolden("omni_audio_heads");
    const { penalty, window } = golden.config as { penalty: number; window: number };
    const heads = [0, 1, 2, 3].map((k) => golden.f32(`weight.audio_output_layers.${k}.weight`));
    const tables = [0, 1, 2].map((k) => golden.f32(`weight.embedding.${k}.weight`));
    const hidden = golden.f32("input.hidden");
    const d = golden.tensor("input.hidden").shape[1]!;
    const ids: number[][] = [];
    for (let step = 0; step < hidden.length / d; step++) {
      const a = Float64Array.from(hidden.subarray(step * d, (step + 1) * d));
      const chosen: number[] = [];
      for (const [k, head] of heads.entries()) {
        if (k > 0) for (let i = 0; i < d; i++) a[i]! += tables[k - 1]![chosen[k - 1]! * d + i]!;
        const v = head.length / d;
        const logits = Float64Array.from({ length: v }, (_, row) =>
          a.reduce((s, x, i) => s + x * head[row * d + i]!, 0),
        );
        const history = new Int32Array(window).fill(-1);
        history.set(ids.slice(-window).map((all) => all[k]!));
        const penalised = repetitionPenalty(
          device.tensor(logits, [1, v]),
          device.tensor(history, [1, window], "i32"),
          penalty,
        );
        chosen.push((await argmax(penalised).read())[0]!);
      }
      ids.push(chosen);
    }
    expect(Int32Array.from(ids.flat())).toEqual(golden.i32("expected.ids"));
  });

  test("repetitionPenalty is the definition, for f32 and bf16", async () => {
    const [b, v] = [3, 50];
    const logits = randomArray(b * v, 1, 5).map(bf16);
    const history = Int32Array.from([4, 4, -1, 4, 9, 0, 0, 49, -5, 7, -1, -1, -1, -1, -1]);
    const want = logits.map((x, i) => {
      const row = Math.floor(i / v);
      const count = history.subarray(row * 5, row * 5 + 5).filter((id) => id === i % v).length;
      return x >= 0 ? x / 1.3 ** count : x * 1.3 ** count;
    });
    const h = device.tensor(history, [b, 5], "i32");
    const y = repetitionPenalty(device.tensor(logits, [b, v]), h, 1.3);
    expect(relativeError(await y.toFloat32Array(), want)).toBeLessThan(1e-7);
    const z = repetitionPenalty(device.tensor(logits, [b, v], "bf16"), h, 1.3);
    expect(await z.toFloat32Array()).toEqual(want.map(bf16));
    const none = repetitionPenalty(device.tensor(logits, [b, v]), device.zeros([b, 0], "i32"), 1.3);
    expect(await none.toFloat32Array()).toEqual(logits);
  });

  test("repetitionPenalty refuses bad input, at once or on the read", async () => {
    const logits = device.zeros([1, 8]);
    const history = device.tensor([2, 8], [1, 2], "i32");
    await expect(repetitionPenalty(logits, history, 1.1).read()).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
    expect(() => repetitionPenalty(logits, history, 0)).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => repetitionPenalty(logits, history, nan)).toThrowError(code("INVALID_ARGUMENT"));
    // @ts-expect-error there is one row of logits
    expect(() => repetitionPenalty(logits, device.zeros([2, 2], "i32"), 1.1)).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => repetitionPenalty(logits, device.zeros([1, 2]) as never, 1.1)).toThrowError(code("DTYPE_MISMATCH"));
  });

  test.each([1, 15, 16, 17, 1000, 131072])("argmax of %i logits, f32 and bf16", async (v) => {
    const logits = randomArray(2 * v, v);
    for (const [dtype, values] of [
      ["f32", logits],
      ["bf16", logits.map(bf16)], // many ties: the lowest id
    ] as const) {
      const rows = [values.subarray(0, v), values.subarray(v)];
      const want = rows.map((row) => row.indexOf(row.reduce((m, x) => Math.max(m, x), -inf)));
      expect(Array.from(await argmax(device.tensor(values, [2, v], dtype)).read())).toEqual(want);
    }
  });

  test("argmax ignores NaN, and gives the first allowed id if no logit exceeds -infinity", async () => {
    const one = async (row: number[], allowed?: [number, number][]) =>
      (await argmax(device.tensor(row, [1, row.length]), { allowed }).read())[0];
    const wide = new Array<number>(40).fill(nan);
    expect(await one([nan, 1, nan, 3, 3, nan])).toBe(3);
    expect(await one(wide.with(37, -5))).toBe(37);
    expect(await one(wide.with(3, -5))).toBe(3);
    expect(await one(wide)).toBe(0);
    expect(await one([-inf, -inf])).toBe(0);
    expect(await one([1, inf, inf])).toBe(1);
    expect(
      await one(
        [9, 1, 2, 9, 3],
        [
          [1, 3],
          [4, 5],
        ],
      ),
    ).toBe(4);
    expect(await one([9, nan, -inf, 9], [[1, 3]])).toBe(1);
  });

  test("ranges of allowed ids must ascend inside the vocabulary", () => {
    const logits = device.zeros([1, 8]);
    for (const allowed of [
      [[3, 3]],
      [[-1, 2]],
      [[0, 9]],
      [
        [4, 6],
        [5, 7],
      ],
      [
        [4, 6],
        [0, 2],
      ],
      [[1.5, 2]],
    ] as const)
      expect(() => argmax(logits, { allowed })).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => argmax(device.zeros([1, 0]))).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => argmax(device.zeros([8]) as never)).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => argmax(device.zeros([1, 8], "i32") as never)).toThrowError(code("DTYPE_MISMATCH"));
  });

  const ids = (values: ArrayLike<number>, rows: number, options: Omit<SampleOptions, "step"> & { step?: number }) =>
    sample(device.tensor(Float32Array.from(values), [rows, values.length / rows]), { step: 0, ...options }).read();

  test("the generator is Philox4x32-10", async () => {
    expect(philox([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]); // published vector
    const flat = new Float32Array(3 * 4096);
    expect((await ids(flat.subarray(0, 4096), 1, { seed: 0 }))[0]).toBe(0x662);
    for (const [seed, step] of [
      [7, 0],
      [2 ** 40 + 3, 9],
      [0xffffffff, 2 ** 33],
    ] as const) {
      const want = [0, 1, 2].map((row) => Math.floor(referenceUniform(seed, step, row) * 4096));
      expect(Array.from(await ids(flat, 3, { seed, step }))).toEqual(want);
    }
  });

  test.each([
    {},
    { temperature: 0.6 },
    { topK: 5 },
    { topP: 0.7 },
    { temperature: 1.7, topK: 40, topP: 0.9 },
    { topK: 1000, topP: 1e-9 },
  ])("draws as sorting would: %j", async ({ temperature, topK, topP }) => {
    const [b, v] = [device === cuda ? 8 : 64, 333];
    for (const scale of [0.1, 4]) {
      const logits = randomArray(b * v, 2, scale).map(bf16); // with ties
      const want = Array.from({ length: b }, (_, row) =>
        referenceDraw(
          referenceProbabilities(logits.subarray(row * v, (row + 1) * v), temperature, topK, topP),
          referenceUniform(11, 5, row),
        ),
      );
      expect(Array.from(await ids(logits, b, { temperature, topK, topP, seed: 11, step: 5 }))).toEqual(want);
    }
  });

  // On the GPU the ids equal the CPU's: the tests above and samplingCuda.test.ts compare them.
  test.skipIf(device === cuda).each([{ temperature: 1.3 }, { topK: 12, topP: 0.95 }])(
    "frequencies follow the probabilities (chi-square): %j",
    async (options) => {
      const [n, v] = [40_000, 48];
      const logits = randomArray(v, 3, 2);
      const p = referenceProbabilities(logits, options.temperature, options.topK, options.topP);
      const rows = Float32Array.from({ length: n * v }, (_, i) => logits[i % v]!);
      const drawn = [...(await ids(rows, n, { ...options, seed: 1 }))]; // the rows of one step
      const all = device.tensor(logits, [1, v]);
      const steps = Array.from({ length: 2000 }, (_, step) => sample(all, { ...options, seed: 2, step })); // many steps
      for (const t of steps) drawn.push((await t.read())[0]!);
      const counts = new Float64Array(v);
      for (const id of drawn) counts[id]!++;
      const possible = p.filter((x) => x > 0).length;
      const chi = p.reduce((s, x, i) => (x > 0 ? s + (counts[i]! - drawn.length * x) ** 2 / (drawn.length * x) : s), 0);
      expect(counts.filter((c, i) => c > 0 && p[i] === 0).length).toBe(0);
      expect(chi).toBeLessThan(possible - 1 + 5 * Math.sqrt(2 * (possible - 1)));
    },
  );

  test("the same seed and step draw the same id with any threads and batch", async () => {
    const [b, v] = [6, 5000];
    const logits = randomArray(b * v, 4, 3);
    const seeds = [3, 1, 4, 1, 5, 9];
    const whole = Array.from(await ids(logits, b, { seed: seeds, topP: 0.9, step: 2 }));
    const alone = await Promise.all(
      seeds.map(
        async (seed, r) => (await ids(logits.subarray(r * v, (r + 1) * v), 1, { seed, topP: 0.9, step: 2 }))[0],
      ),
    );
    expect(alone).toEqual(whole);
    await using single = await Device.open({ backend: "cpu", threads: 1 });
    const t = single.tensor(logits, [b, v]);
    expect(Array.from(await sample(t, { seed: seeds, topP: 0.9, step: 2 }).read())).toEqual(whole);
  });

  test("options for each row", async () => {
    const row = [0, 3, 2, 1];
    const logits = [...row, ...row, ...row];
    const out = await ids(logits, 3, { temperature: [0, 1, 1], topK: [0, 1, 0], topP: [1, 1, 1e-6], seed: [1, 2, 3] });
    expect(Array.from(out)).toEqual([1, 1, 1]);
  });

  test("a large vocabulary in bf16", async () => {
    const v = 131072;
    const logits = randomArray(v, 5, 6).map(bf16);
    const p = referenceProbabilities(logits, 0.8, 50, 0.9);
    const t = device.tensor(logits, [1, v], "bf16");
    for (let step = 0; step < (device === cuda ? 5 : 20); step++) {
      const [id] = await sample(t, { temperature: 0.8, topK: 50, topP: 0.9, seed: 6, step }).read();
      expect(id).toBe(referenceDraw(p, referenceUniform(6, step, 0)));
    }
  });

  test("NaN and infinite logits", async () => {
    const draws = async (row: number[], options: object = {}) => {
      const found = new Set<number>();
      const rows = Array.from({ length: 60 }, () => row).flat();
      for (const id of await ids(rows, 60, { seed: 7, ...options })) found.add(id);
      return [...found].sort((a, b) => a - b);
    };
    for (const options of [{}, { topK: 2 }, { topP: 0.99 }, { temperature: 0.01 }]) {
      expect(await draws([nan, 0, nan, 0, -inf], options)).toEqual([1, 3]);
      expect(await draws([5, inf, 3, inf, nan], options)).toEqual([1, 3]);
      expect(await draws([nan, nan, nan], options)).toEqual([0]);
      expect(await draws([-inf, -inf], options)).toEqual([0]);
    }
    expect(await draws([5, inf, 3, inf, nan], { temperature: 0 })).toEqual([1]);
    expect(
      await draws([9, nan, 9, -inf, 9], {
        allowed: [
          [1, 2],
          [3, 4],
        ],
      }),
    ).toEqual([1]);
    expect(
      await draws([9, 1, 9, 1, 9], {
        allowed: [
          [1, 2],
          [3, 4],
        ],
      }),
    ).toEqual([1, 3]);
    expect(await draws([1, 1, 1, 1], { topK: 2 })).toEqual([0, 1]);
    expect(await draws([1, 1, 1, 1], { topP: 0.5 })).toEqual([0, 1]);
    expect(await draws([3e38, -3e38, 1, 2], { temperature: 1e-300 })).toEqual([0]);
  });

  test("bad options are refused at once", () => {
    const logits = device.zeros([2, 8]);
    const bad = (options: object) =>
      expect(() => sample(logits, { seed: 0, step: 0, ...options })).toThrowError(code("INVALID_ARGUMENT"));
    bad({ temperature: -1 });
    bad({ temperature: nan });
    bad({ temperature: inf });
    bad({ topK: -1 });
    bad({ topK: 1.5 });
    bad({ topP: 0 });
    bad({ topP: 1.1 });
    bad({ topP: nan });
    bad({ seed: -1 });
    bad({ seed: 2 ** 60 });
    bad({ seed: [1, 2, 3] });
    bad({ temperature: [] });
    bad({ step: 0.5 });
    const long = device.zeros([1, 2 ** 23 + 1], "bf16");
    expect(() => sample(long, { seed: 0, step: 0 })).toThrowError(code("INVALID_ARGUMENT"));
  });

  test("misspelt options are named", () => {
    const logits = device.zeros([1, 8]);
    expect(() => argmax(logits, { allow: [[0, 2]] } as never)).toThrowError(/"allow": did you mean "allowed"/);
    const misspelt = { seed: 0, step: 0, topk: 5 } as never;
    expect(() => sample(logits, misspelt)).toThrowError(/"topk": did you mean "topK"/);
  });
});

test("a list that is longer than the tensor allows is refused before an element of it is read", async () => {
  await using device = await Device.open({ backend: "cpu", threads: 1 });
  const logits = device.zeros([1, 2000]);
  const unread = (length: number) =>
    new Proxy([], { get: (_, key) => (key === "length" ? length : expect.unreachable(`${String(key)} was read`)) });
  const one = { seed: 1, step: 0 };
  const calls: [() => unknown, RegExp][] = [
    [() => argmax(logits, { allowed: unread(2001) }), /allowed must be a list of ranges .*, at most 2000 long/],
    [() => sample(logits, { ...one, allowed: unread(2001) }), /allowed must be .*, at most 2000 long/],
    [() => maskRows(logits, unread(1025)), /lengths must be a list, at most 1024 long/],
    [() => splitColumns(logits, unread(2001)), /widths must be a list, at most 2000 long/],
  ];
  for (const name of ["temperature", "topK", "topP", "seed", "step"])
    calls.push([() => sample(logits, { ...one, [name]: unread(1025) }), new RegExp(`${name} must be .* 1024 long`)]);
  for (const [call, message] of calls)
    expect(call).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) }),
    );
  const ranges = Array.from({ length: 1000 }, (_, i) => [2 * i + 1, 2 * i + 2] as const); // as many as a row can have
  expect([...(await argmax(logits, { allowed: ranges }).read())]).toEqual([1]);
});
