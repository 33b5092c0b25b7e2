import { describe, expect, test } from "vitest";
import { nameOf } from "../../bench/case.js";
import { catalogue } from "../../bench/cases/index.js";
import { timedCases } from "../../bench/ops.js";
import { timeOperation } from "../../bench/timing.js";
import * as ops from "../../lib/ops/index.js";
import { disposeAll } from "../../lib/tensor/tensor.js";
import { code } from "../support/errors.js";
import { allDevices, backends } from "../support/modelDevices.js";

describe.each(allDevices)("timing on $name", (device) => {
  test("an operation is timed, and its errors surface", async () => {
    const table = device.zeros([4, 4]);
    const rows = (id: number) => () => ops.embedding(table, device.tensor([id], [1], "i32"));
    const { best, median, runs } = await timeOperation(device, rows(3), { milliseconds: 1, runs: 2 });
    expect(best).toBeGreaterThan(0);
    expect(median).toBeGreaterThanOrEqual(best);
    expect(runs).toBeGreaterThanOrEqual(2);
    await expect(timeOperation(device, rows(4))).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
  });
});

test.each(backends)("$name times every case that is not too large for it", (device) => {
  const timed = new Set(timedCases(device).map(nameOf));
  const left = catalogue("bf16").filter((c) => !timed.has(nameOf(c)));
  expect(left.every(({ part }) => part)).toBe(true);
  expect(left.length > 0).toBe(device.backend === "cpu");
});

/** Cases with little to compute and small operands, which a virtual GPU runs quickly. */
const small = (activations: "f32" | "bf16") =>
  catalogue(activations).filter(
    ({ op, work }) => (work.flops ?? 0) < 2e7 && /^(fsmn|snake|fbank|conv|patchify|interpolate|permutation)/.test(op),
  );

describe.each(backends)("cases on $name", (device) => {
  test.each(["f32", "bf16"] as const)("run with %s activations, on any copy", async (activations) => {
    for (const c of small(activations)) {
      const operands = device.scope(() => c.prepare(device, 2));
      for (const i of [0, 3]) {
        using y = device.scope(() => c.run(operands, i));
        await expect(y.ready(), nameOf(c)).resolves.toBeUndefined();
      }
      disposeAll(operands);
    }
  });
});
