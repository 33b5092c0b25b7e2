// The CUDA backend's own risks with sampling: the division of rows among warps and blocks, the paths to a cut and to a
// draw, unaligned rows. Every id must equal that of every CPU instruction set.
import { describe, expect, test } from "vitest";
import { type AllowedIds, argmax, repetitionPenalty, type SampleOptions, sample } from "../../lib/ops/sampling.js";
import type { Device } from "../../lib/tensor/tensor.js";
import { cuda, devices } from "../support/devices.js";
import { bf16, randomArray, uniform } from "../support/numbers.js";

type Options = Omit<SampleOptions, "step">;

describe.skipIf(!cuda)("sampling on CUDA alone", () => {
  const device = cuda as Device;

  async function expectSameIds(rows: number, values: Float32Array, options: Options, dtype: "f32" | "bf16" = "f32") {
    const draw = (on: Device) =>
      sample(on.tensor(values, [rows, values.length / rows], dtype), { ...options, step: 3 });
    const ids = await draw(device).read();
    for (const cpu of devices) expect(ids).toEqual(await draw(cpu).read());
    return ids;
  }

  const cuts: Options[] = [
    { seed: 1 },
    { seed: 2, temperature: 0.7, topK: 20 },
    { seed: 3, topP: 0.9 },
    { seed: 4, temperature: 0.3, topK: 50, topP: 0.8 },
    { seed: 5, topK: 700, topP: 0.95 }, // more than parts, and more than are listed
    { seed: 6, topK: 1, topP: 0.5 },
  ];

  test.each(cuts)("one row or several, short, long or odd: %j", async (options) => {
    for (const [rows, columns] of [
      [3, 1],
      [5, 37],
      [2, 513],
      [2, 3001],
      [1, 33_024],
    ] as const) {
      const logits = randomArray(rows * columns, columns, 8);
      await expectSameIds(rows, logits, options);
      await expectSameIds(rows, logits.map(bf16), options, "bf16"); // many ties
    }
  });

  test.each(cuts)("rows without a shortcut to the cut: %j", async (options) => {
    const n = 5000;
    const flat = randomArray(n, 1, 0.01); // topP keeps thousands
    const ascending = Float32Array.from({ length: n }, (_, i) => i / 500); // the likely logits are in one part
    const equal = new Float32Array(n).fill(2);
    const few = Float32Array.from({ length: n }, (_, i) => (i * 7) % 3); // the cut is among equals
    const zeros = Float32Array.from({ length: n }, (_, i) => (i % 2 ? 0 : -0));
    for (const row of [flat, ascending, ascending.toReversed(), equal, few, zeros])
      for (const dtype of ["f32", "bf16"] as const) await expectSameIds(1, row.map(bf16), options, dtype);
  });

  test("NaN and infinities do not affect other rows", async () => {
    const n = 2000;
    const row = randomArray(n, 3, 5);
    const one = await expectSameIds(1, row, { seed: [9], topP: 0.9 });
    const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
    const wild = [nan, inf, -inf].map((v) => row.map((x, i) => (i % 3 ? v : x)));
    const all = Float32Array.from([...wild[0]!, ...row, ...wild[1]!, ...wild[2]!, ...new Float32Array(n).fill(nan)]);
    for (const options of [{ topP: 0.9 }, { topP: 0.9, topK: 30 }, { topK: 1 }] as const) {
      const ids = await expectSameIds(5, all, { ...options, seed: [1, 9, 2, 3, 4] });
      if (!("topK" in options)) expect(ids[1]).toBe(one[0]);
    }
  });

  test("more rows than one launch takes, with options for each", async () => {
    const [rows, columns] = [300, 40];
    const each = <T>(value: (row: number) => T) => Array.from({ length: rows }, (_, row) => value(row));
    const options = {
      seed: each((row) => row % 7),
      temperature: each((row) => (row % 5) / 2),
      topK: each((row) => row % 45),
      topP: each((row) => 1 - (row % 3) / 4),
    };
    await expectSameIds(rows, randomArray(rows * columns, 5, 3), options);
    await expectSameIds(rows, randomArray(rows * columns, 6, 3), { seed: 2 ** 50 });
  });

  test("repeatable ids, and none for no rows", async () => {
    const logits = device.tensor(randomArray(3000, 7, 0.1), [1, 3000]);
    const draw = () => sample(logits, { seed: 8, step: 1, topP: 0.99 }).read();
    const first = await draw();
    for (let i = 0; i < 5; i++) expect(await draw()).toEqual(first);
    const none = device.zeros([0, 30]);
    expect((await sample(none, { seed: 1, step: 1 }).read()).length).toBe(0);
    expect((await argmax(none).read()).length).toBe(0);
    expect((await repetitionPenalty(none, device.zeros([0, 4], "i32"), 1.1).read()).length).toBe(0);
  });

  const many: AllowedIds = Array.from({ length: 300 }, (_, i) => [i * 10 + 3, i * 10 + 3 + (i % 7) + 1] as const);
  test.each([
    { allowed: [[5, 2991]] as AllowedIds },
    {
      allowed: [
        [1, 2],
        [900, 901],
        [2000, 3001],
      ] as AllowedIds,
    },
    { allowed: many },
  ])("ranges of allowed ids", async ({ allowed }) => {
    const logits = randomArray(2 * 3001, 8, 4);
    for (const rest of cuts) await expectSameIds(2, logits, { ...rest, allowed });
    await expectSameIds(2, logits.fill(-Infinity), { seed: 1, allowed });
    const values = randomArray(2 * 3001, 9);
    const best = (on: Device) => argmax(on.tensor(values, [2, 3001]), { allowed }).read();
    expect(await best(device)).toEqual(await best(devices[0]!));
  });

  test.each(["f32", "bf16"] as const)("unaligned views: %s", async (dtype) => {
    const [rows, columns] = [6, 301];
    const values = randomArray(rows * columns, 10).map(bf16);
    const history = Int32Array.from({ length: rows * 5 }, (_, i) => (i * 37) % columns);
    const run = async (on: Device) => {
      const logits = on.tensor(values, [rows, columns], dtype).slice(1, 5);
      const last = on.tensor(history, [rows, 5], "i32").slice(1, 5);
      const penalised = await repetitionPenalty(logits, last, 1.3).toFloat32Array();
      return [await argmax(logits).read(), await sample(logits, { seed: 1, step: 1, topK: 9 }).read(), penalised];
    };
    const got = await run(device);
    for (const cpu of devices) expect(got).toEqual(await run(cpu));
  });

  test.each(["f32", "bf16"] as const)("a long history, in which ids recur blocks later: %s", async (dtype) => {
    const [rows, columns, window] = [3, 400, 700];
    const next = uniform(11);
    const history = Int32Array.from({ length: rows * window }, () => Math.floor((next() + 0.9) * 200));
    const values = randomArray(rows * columns, 12, 9).map(bf16);
    const run = (on: Device) =>
      repetitionPenalty(
        on.tensor(values, [rows, columns], dtype),
        on.tensor(history, [rows, window], "i32"),
        1.01,
      ).toFloat32Array();
    const got = await run(device);
    for (const cpu of devices) expect(got).toEqual(await run(cpu));
  });

  test("an id beyond the logits gives the CPU's message", async () => {
    const read = (on: Device) =>
      repetitionPenalty(on.zeros([2, 8]), on.tensor([1, 2, -1, 8], [2, 2], "i32"), 1.1).read();
    const expected = await read(devices[0]!).catch((e: Error) => e);
    expect(expected).toMatchObject({ code: "INDEX_OUT_OF_RANGE" });
    await expect(read(device)).rejects.toThrowError((expected as Error).message);
  });
});
