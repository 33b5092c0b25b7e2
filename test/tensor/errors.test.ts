import { describe, expect, test } from "vitest";
import type { ErrorCode } from "../../lib/errors.js";
import * as ops from "../../lib/ops/index.js";
import { Graph } from "../../lib/tensor/graph.js";
import { Device, type Tensor } from "../../lib/tensor/tensor.js";
import { allDevices } from "../support/devices.js";
import { code } from "../support/errors.js";

describe.each(allDevices)("errors of operations that are already queued, on $name", (device) => {
  const table = device.tensor([1, 2, 3, 4], [2, 2]);
  /** Rows whose computation fails. */
  const failed = () => ops.embedding(table, device.tensor([7], [1], "i32"));

  test("ready() waits for a tensor, and rejects with the error of its computation", async () => {
    await expect(ops.add(table, table).ready()).resolves.toBeUndefined();
    await expect(ops.add(failed(), failed()).ready()).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
  });

  test("a tensor that is written in place keeps its error until the error is cleared", async () => {
    const state = device.tensor([5, 6], [1, 2]);
    ops.copyRows(state, failed());
    await expect(state.read()).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
    await expect(ops.add(state, state).read()).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
    state.clearError();
    ops.copyRows(state, ops.add(state, state)); // the rows are readable, with unspecified values
    await state.ready();
    ops.copyRows(state, device.tensor([7, 8], [1, 2]));
    expect([...(await state.read())]).toEqual([7, 8]);
  });

  test("clearError() clears errors of earlier operations, but not of later ones", async () => {
    const state = device.tensor([5, 6], [1, 2]);
    ops.copyRows(state, failed());
    state.clearError();
    ops.copyRows(state, failed());
    await expect(state.read()).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
  });

  test("a write of a whole tensor removes an error that nobody has read yet, a write of some rows does not", async () => {
    const [whole, part] = [failed(), ops.concatRows([failed(), table])];
    part.slice(0, 1).write([5, 6]);
    whole.write([5, 6]);
    const from = ops.add(whole, whole);
    expect([[...(await whole.read())], [...(await from.read())]]).toEqual([
      [5, 6],
      [10, 12],
    ]);
    await expect(part.read()).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
    ops.copyRows(whole, failed()); // fails after the write
    await expect(whole.read()).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
    whole.write([7, 8]);
    expect([...(await whole.read())]).toEqual([7, 8]);
  });

  // A GPU's queue waits after 256 operations that check their data, and learns of their errors there.
  test.each([254, 255, 256])("errors of %i operations meet a read, a write and a replay", async (checks) => {
    const state = device.tensor([5, 6], [1, 2]);
    const ids = device.tensor([1], [1], "i32");
    using graph = Graph.capture(device, () => ops.copyRows(state, ops.embedding(table, ids)));
    graph.replay();
    const afterChecks = async (first: () => Tensor<"f32">, next: (x: Tensor<"f32">) => Tensor) => {
      await device.synchronize();
      const x = first();
      for (let i = 1; i < checks; i++) device.scope(() => ops.embedding(table, ids));
      return next(x).read();
    };
    const copied = () => ops.copyRows(state, failed()) ?? state;
    await expect(afterChecks(failed, (x) => ops.add(x, x))).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
    await expect(afterChecks(copied, () => graph.replay() ?? state)).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
    expect([...(await afterChecks(failed, (x) => x.write([7, 8]) ?? x))]).toEqual([7, 8]);
  });

  test("a disposed tensor has neither ready() nor clearError()", async () => {
    const gone = device.zeros([2]);
    gone.dispose();
    await expect(gone.ready()).rejects.toThrowError(code("DISPOSED"));
    expect(() => gone.clearError()).toThrowError(code("DISPOSED"));
  });
});

/** Matches a `CaracalError` with these details. */
const error = (code: ErrorCode, details: Readonly<Record<string, unknown>>) =>
  expect.objectContaining({ name: "CaracalError", code, details: expect.objectContaining(details) });

describe.each(allDevices)("details of errors on $name", (device) => {
  const x = device.zeros([2, 8]);
  const integers = device.zeros([2, 8], "i32");
  const packed = ops.packWeight(device.zeros([8, 8]));
  const loose = ops as unknown as Record<string, (...args: unknown[]) => Tensor>;

  test.each<[what: string, run: () => unknown, code: ErrorCode, details: Readonly<Record<string, unknown>>]>([
    [
      "a rank",
      () => loose.rope!(x, integers, { theta: 1 }),
      "SHAPE_MISMATCH",
      { operation: "rope", argument: "x", expected: "3 dimensions", actual: "[2, 8]" },
    ],
    [
      "a minimum rank",
      () => loose.linear!(device.zeros([]), packed),
      "SHAPE_MISMATCH",
      { operation: "linear", argument: "x", expected: "at least 1 dimensions", actual: "[]" },
    ],
    [
      "a shape",
      () => loose.linear!(x, device.zeros([4, 7])),
      "SHAPE_MISMATCH",
      { operation: "linear", argument: "w", expected: "[*, 8]", actual: "[4, 7]" },
    ],
    [
      "a dtype",
      () => loose.linear!(integers, packed),
      "DTYPE_MISMATCH",
      { operation: "linear", argument: "x", expected: "f32 or bf16", actual: "i32" },
    ],
    [
      "a layout",
      () => loose.linear!(packed, packed),
      "INVALID_ARGUMENT",
      { operation: "linear", argument: "x", expected: "a plain tensor", actual: "a weight packed by packWeight" },
    ],
    [
      "a number that is not positive",
      () => ops.rmsNorm(x, device.zeros([8]), { eps: -1e-9 }),
      "INVALID_ARGUMENT",
      { operation: "rmsNorm", argument: "eps", expected: "positive", actual: "-1e-09" },
    ],
    [
      "a number outside its range",
      () => ops.router(x, device.zeros([3, 8]), undefined, { topK: 4, experts: 2, zeroExperts: 1, scale: 1 }),
      "INVALID_ARGUMENT",
      { operation: "router", argument: "topK", expected: "in [1, 3]", actual: "4" },
    ],
    [
      "a name that is not one of a list",
      () => loose.linear!(x, packed, { activation: "swish" }),
      "INVALID_ARGUMENT",
      { operation: "linear", argument: "activation", expected: expect.stringContaining("silu"), actual: '"swish"' },
    ],
    [
      "a value that is not a tensor",
      () => loose.linear!(x, [3]),
      "INVALID_ARGUMENT",
      { operation: "linear", argument: "w", expected: "a Tensor", actual: "an array" },
    ],
    [
      "a misspelt option",
      () => loose.linear!(x, packed, { activatoin: "silu" }),
      "INVALID_ARGUMENT",
      { option: "activatoin", nearest: "activation", known: expect.arrayContaining(["bias", "residual"]) },
    ],
    [
      "values that do not fill a shape",
      // @ts-expect-error 3 values, 4 elements
      () => device.tensor([1, 2, 3], [2, 2]),
      "SHAPE_MISMATCH",
      { argument: "values", expected: "4", actual: "3" },
    ],
    [
      "values of another dtype",
      () => device.tensor(new Uint16Array(2), [2], "f32"),
      "DTYPE_MISMATCH",
      { argument: "values", expected: "bf16 or f16", actual: "f32" },
    ],
    ["a disposed tensor", () => disposed(device).clearError(), "DISPOSED", { argument: "tensor" }],
    ["a disposed argument", () => ops.add(x, disposed(device)), "DISPOSED", { operation: "add", argument: "b" }],
    [
      "a tensor that no device memory can hold",
      () => device.zeros([2 ** 40, 2 ** 9]),
      "OUT_OF_MEMORY",
      { bytes: 2 ** 51, capacity: expect.any(Number) },
    ],
  ])("name the argument, what it must be, and what it is: %s", (_, run, code, details) => {
    expect(run).toThrowError(error(code, details));
  });

  test.each<[what: string, run: () => Tensor, details: Readonly<Record<string, unknown>>]>([
    [
      "a row",
      () => ops.embedding(x, device.tensor([0, 1, 7], [3], "i32")),
      { operation: "embedding", argument: "ids", position: 2, value: 7 },
    ],
    [
      "an offset",
      () =>
        ops.attention(heads(device), heads(device), heads(device), { cuSeqlens: device.tensor([0, 3], [2], "i32") }),
      { operation: "attention", argument: "cuSeqlens", position: 1, value: 3 },
    ],
    [
      "an expert",
      () => ops.permutation({ ids: device.tensor([0, 1, 2, 9], [2, 2], "i32"), experts: 3, zeroExperts: 1 }).slotOf,
      { operation: "permutation", argument: "ids", position: 3, value: 9 },
    ],
    [
      "an id of the history",
      () => ops.repetitionPenalty(x, device.tensor([1, -1, 0, 8], [2, 2], "i32"), 1.5),
      { operation: "repetitionPenalty", argument: "history", position: 3, value: 8 },
    ],
  ])("name the element that is an invalid index, when a result is read: %s", async (_, run, details) => {
    await expect(run().read()).rejects.toThrowError(error("INDEX_OUT_OF_RANGE", details));
  });
});

test("what was disposed is named in the same words wherever it is used", async () => {
  const device = await Device.open({ backend: "cpu", threads: 1 });
  const x = device.zeros([2, 8]);
  const advice = "create it outside of the scope or `using` block that ended, or dispose it later";
  const gone = disposed(device);
  await expect(gone.read()).rejects.toThrow(`the tensor was disposed: ${advice}`);
  expect(() => ops.add(gone, x)).toThrow(`add: a was disposed: ${advice}`);
  device.dispose();
  const closed = "the device was disposed: open another with Device.open()";
  await expect(x.read()).rejects.toThrow(closed);
  for (const use of [() => ops.add(x, x), () => device.zeros([1]), () => device.memory, () => device.fork(() => 1)])
    expect(use).toThrow(closed);
});

const heads = (device: Device) => device.zeros([2, 1, 8]);
function disposed(device: Device) {
  const tensor = device.zeros([2, 8]);
  tensor.dispose();
  return tensor;
}
