import { describe, expect, test } from "vitest";
import * as ops from "../../lib/ops/index.js";
import { allDevices } from "../support/devices.js";
import { code } from "../support/errors.js";

describe.each(allDevices)("errors of tensors on $name", (device) => {
  const table = device.tensor([1, 2, 3, 4], [2, 2]);
  /** Rows that cannot be computed. */
  const failed = () => ops.embedding(table, device.tensor([7], [1], "i32"));

  test("ready waits for a tensor, and rejects with what went wrong", async () => {
    await expect(ops.add(table, table).ready()).resolves.toBeUndefined();
    await expect(ops.add(failed(), failed()).ready()).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
  });

  test("an error stays with what is written in place, until it is cleared", async () => {
    const state = device.tensor([5, 6], [1, 2]);
    ops.copyRows(state, failed());
    await expect(state.read()).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
    await expect(ops.add(state, state).read()).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
    state.clearError();
    ops.copyRows(state, ops.add(state, state)); // the rows are there, whatever they are
    await state.ready();
    ops.copyRows(state, device.tensor([7, 8], [1, 2]));
    expect([...(await state.read())]).toEqual([7, 8]);
  });

  test("it is cleared in the queue's order: of what failed before, not of what fails after", async () => {
    const state = device.tensor([5, 6], [1, 2]);
    ops.copyRows(state, failed());
    state.clearError();
    ops.copyRows(state, failed());
    await expect(state.read()).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
  });

  test("a disposed tensor has neither", async () => {
    const gone = device.zeros([2]);
    gone.dispose();
    await expect(gone.ready()).rejects.toThrowError(code("DISPOSED"));
    expect(() => gone.clearError()).toThrowError(code("DISPOSED"));
  });
});
