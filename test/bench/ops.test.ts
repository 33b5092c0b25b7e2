import { describe, expect, test } from "vitest";
import { opCases } from "../../lib/bench/ops.js";
import { timeOperation } from "../../lib/bench/timing.js";
import * as ops from "../../lib/ops/index.js";
import { disposeAll } from "../../lib/tensor/device.js";
import { allDevices, backends } from "../support/modelDevices.js";

const code = (expected: string) => expect.objectContaining({ code: expected });

describe.each(allDevices)("benchmarks on $name", (device) => {
  test("an operation is timed, with what goes wrong in it", async () => {
    const table = device.zeros([4, 4]);
    const rows = (id: number) => () => ops.embedding(table, device.tensor([id], [1], "i32"));
    const { best, median, runs } = await timeOperation(device, rows(3), { milliseconds: 1, runs: 2 });
    expect(best).toBeGreaterThan(0);
    expect(median).toBeGreaterThanOrEqual(best);
    expect(runs).toBeGreaterThanOrEqual(2);
    await expect(timeOperation(device, rows(4))).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
  });
});

/** Cases that a virtual GPU has done in a moment, and whose operands are made in one. */
const small = (activations: "f32" | "bf16") =>
  opCases(activations).filter(({ op, flops }) => flops < 2e7 && /^(fsmn|snake|fbank|conv)/.test(op));

describe.each(backends)("cases on $name", (device) => {
  test.each(["f32", "bf16"] as const)("run with %s activations", async (activations) => {
    for (const c of small(activations)) {
      const operands = device.scope(() => c.prepare(device));
      using y = device.scope(() => c.run(operands, 0));
      await expect(y.ready(), `${c.op} ${c.size}`).resolves.toBeUndefined();
      disposeAll(operands);
    }
  });
});
