// No argument of a native function ends the process: of another kind, with getters that change what was read before, or
// packed for another operation.
import { describe, expect, test } from "vitest";
import { CaracalError } from "../../lib/errors.js";
import { addon, describe as describeTensor, guarded, type TensorHandle } from "../../lib/native/addon.js";
import { operationFields } from "../../lib/native/operations.js";
import * as ops from "../../lib/ops/index.js";
import { Device, type NativeArray, type Tensor } from "../../lib/tensor/tensor.js";
import { code } from "../support/errors.js";

const device = await Device.open({ backend: "cpu", threads: 1 });
type Native = (...args: unknown[]) => unknown;
/** The functions of the addon, without their types. */
const native = addon() as unknown as Readonly<Record<string, Native>>;
const loose = ops as unknown as Readonly<Record<string, (...args: unknown[]) => Tensor>>;

const functions = Object.entries(addon() as object)
  .filter(([name, value]) => typeof value === "function" && name !== "contracts")
  .map(([name]) => name);
const junk: readonly (readonly [string, unknown])[] = [
  ["undefined", undefined],
  ["null", null],
  ["a number", 3],
  ["NaN", Number.NaN],
  ["a bigint", 3n],
  ["a string", "no such file"],
  ["a symbol", Symbol("x")],
  ["a function", () => {}],
  ["an array", [device.zeros([1]).handle]],
  ["a SharedArrayBuffer", new SharedArrayBuffer(4)],
  ["a tensor", device.zeros([1]).handle],
];

/** Calls an operation with named arguments, which the addon takes in their order. */
const callNamed = (name: string, args: Readonly<Record<string, unknown>>) =>
  native[name]!(...operationFields[name as keyof typeof operationFields].map((field) => args[field]));

/** What a function takes although it is among the junk: objects as options, and tensors. */
const taken: Readonly<Record<string, RegExp>> = {
  openCpu: /function|array|Shared/,
  openCuda: /function|array|Shared/,
  read: /tensor/,
  ready: /tensor/,
  dispose: /tensor/,
  clearError: /tensor/,
  describe: /tensor/,
  add: /tensor/,
  mul: /tensor/,
  clamp: /tensor/,
  snake: /tensor/,
  fbank: /tensor/,
  concatRows: /array/,
  lockFile: /number/, // there may be a file of this number
};

describe.each(functions)("%s", (name) => {
  test.each(junk.filter(([kind]) => !taken[name]?.test(kind)))("refuses arguments that are all %s", (_, value) => {
    for (const args of [[value], [value, value, value, value, value]])
      expect(() => guarded(() => native[name]!(...args))).toThrowError(
        expect.objectContaining({ code: expect.stringMatching(/^(INVALID_ARGUMENT|IO_ERROR|[A-Z]+_MISMATCH)$/) }),
      );
  });
});

/** A list whose first element runs `change` when it is read. */
function changing<T>(list: T[], change: (list: T[]) => void): T[] {
  const first = list[0]!;
  return Object.defineProperty(list, 0, {
    get() {
      change(list);
      return first;
    },
  });
}

describe("JavaScript that runs while arguments are read", () => {
  const open = () => Device.open({ backend: "cpu", threads: 1 });

  test("a shape that becomes longer, or shorter", () => {
    const longer = () => changing([2, 3], (shape) => shape.push(...new Array<number>(100_000).fill(1)));
    const shorter = () => changing([2, 3], (shape) => shape.splice(1));
    const zeros = (shape: number[]) => guarded(() => native.zeros!(device.handle, "f32", shape)) as TensorHandle;
    expect(() => zeros(longer())).toThrowError(code("SHAPE_MISMATCH"));
    expect(describeTensor(zeros(shorter())).shape).toEqual([2]);
    expect(device.zeros(longer()).shape).toEqual([2, 3]);
    expect(() => device.zeros(shorter())).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => device.zeros(new Array(2 ** 32 - 1) as number[])).toThrowError(code("SHAPE_MISMATCH"));
  });

  test.each<[string, (device: Device, shape: number[]) => unknown]>([
    ["zeros", (d, shape) => d.zeros(shape)],
    ["tensor", (d, shape) => d.tensor([1, 2, 3, 4, 5, 6], shape)],
    ["mapped", (d, shape) => d.mapped(d.mapFile(process.execPath), 0, shape, "u8")],
  ])("a shape that disposes the device: %s", async (_, make) => {
    const own = await open();
    expect(() =>
      make(
        own,
        changing([2, 3], () => own.dispose()),
      ),
    ).toThrowError(code("DISPOSED"));
  });

  test("a shape that disposes the tensor that is viewed", () => {
    const { handle } = device.zeros([6]);
    const shape = changing([2, 3], () => native.dispose!(handle));
    expect(() => guarded(() => native.view!(handle, 0, shape))).toThrowError(code("DISPOSED"));
  });

  test("an argument that disposes another one", () => {
    const x = device.zeros([2, 3]);
    const options = {
      get activation() {
        x.dispose();
        return "relu" as const;
      },
    };
    expect(() => ops.linear(x, device.zeros([4, 3]), options)).toThrowError(code("DISPOSED"));
  });

  test("a list whose elements dispose it, or add to it", async () => {
    const rows = () => device.tensor([1, 2], [1, 2]).handle;
    const [a, b] = [rows(), rows()];
    const disposing = changing([a, b], () => native.dispose!(b));
    expect(() => guarded(() => native.concatRows!(disposing))).toThrowError(code("DISPOSED"));
    const growing = changing([a, a], (list) => list.length < 9 && list.push(a));
    expect(describeTensor(native.concatRows!(growing) as TensorHandle).shape).toEqual([3, 2]);
  });

  test("an argument that throws", () => {
    const thrown = new RangeError("from a getter");
    const list = changing([device.zeros([2, 3]).handle], () => {
      throw thrown;
    });
    expect(() => native.concatRows!(list)).toThrow(thrown);
  });

  test("an argument that disposes the device", async () => {
    const own = await open();
    const list = changing([own.zeros([2, 3]).handle], () => own.dispose());
    expect(() => guarded(() => native.concatRows!(list))).toThrowError(code("DISPOSED"));
  });
});

describe("packed weights", () => {
  // All of 64 elements and more than one shape, so that only the layout tells them apart.
  const packed = {
    matrix: ops.packWeight(device.zeros([8, 8])),
    experts: ops.packWeights([device.zeros([8, 8])]),
    conv1d: ops.packConv1d(device.zeros([8, 8, 1])),
    convTranspose1d: ops.packConvTranspose1d(device.zeros([8, 8, 1])),
  };
  const contracts = native.contracts!() as {
    operations: { name: string; fields: { name: string; kind: string; layout: string; choices?: string[] }[] }[];
  };

  /** Arguments of every kind, all tensors plain, that an operation's fields take. */
  const argumentsOf = (fields: (typeof contracts.operations)[number]["fields"]) =>
    Object.fromEntries(
      fields
        .filter(({ kind }) => !kind.startsWith("tensor") || kind === "tensor")
        .map(({ name, kind, choices }) => [
          name,
          kind === "tensor"
            ? device.zeros([8, 8]).handle
            : kind === "choice"
              ? choices![0]
              : kind === "boolean"
                ? false
                : kind.endsWith("[]")
                  ? [1]
                  : 1,
        ]),
    );

  test("every tensor argument of every operation refuses those of other layouts", () => {
    let checked = 0;
    for (const { name, fields } of contracts.operations)
      for (const field of fields.filter(({ kind }) => kind === "tensor" || kind === "tensor[]"))
        for (const [layout, weight] of Object.entries(packed)) {
          if (layout === field.layout) continue;
          const handle: unknown = field.kind === "tensor" ? weight.handle : [weight.handle];
          const required = fields.some(({ kind }) => kind === "tensor[]")
            ? { weights: [], x: [], codecTables: [] }
            : {};
          const args = { ...required, ...argumentsOf(fields), [field.name]: handle };
          expect(() => guarded(() => callNamed(name, args)), `${name}: ${field.name}, ${layout}`).toThrowError(
            expect.objectContaining({
              code: "INVALID_ARGUMENT",
              details: expect.objectContaining({
                operation: name,
                argument: field.name,
                actual: expect.stringContaining("packed by pack"),
              }),
            }),
          );
          checked++;
        }
    expect(checked).toBeGreaterThan(400);
  });

  test("those of the same layout are taken", async () => {
    const x = device.zeros([8, 8]);
    expect((await ops.linear(x, packed.matrix).read()).every((v) => v === 0)).toBe(true);
    expect(ops.groupedGemm(x, packed.experts, device.zeros([2], "i32")).shape).toEqual([8, 8]);
    expect(ops.conv1d(x, packed.conv1d).shape).toEqual([8, 8]);
    expect(ops.convTranspose1d(x, packed.convTranspose1d, { stride: 1 }).shape).toEqual([8, 8]);
    const layouts = Object.values(packed).map(({ layout }) => layout);
    expect(layouts).toEqual(Object.keys(packed));
  });

  test("conv1d refuses a weight that was packed for other groups, even of the same size", () => {
    // 24 columns in one group, or in two of 12, are padded to 32 either way.
    const w = device.zeros([24, 4, 3]);
    const one: NativeArray = ops.packConv1d(w);
    const x = device.zeros([5, 8]);
    expect(() => loose.conv1d!(x, one, { groups: 2 })).toThrowError(/packed by packConv1d with groups 1, not 2/);
    expect(ops.conv1d(x, ops.packConv1d(w, { groups: 2 }), { groups: 2 }).shape).toEqual([5, 24]);
  });
});

describe("what an operation needs", () => {
  test.each(Object.keys(operationFields))("%s names a required argument that is missing", (name) => {
    try {
      native[name]!();
      expect.unreachable();
    } catch (error) {
      const { message } = error as Error;
      expect(message).toMatch(new RegExp(`^${name}: \\S+ must be .+, got undefined$`));
    }
  });

  test("a number without a default is required", () => {
    const options = { topK: 1, experts: 2, zeroExperts: 0 };
    expect(() => loose.router!(device.zeros([2, 8]), device.zeros([2, 8]), undefined, options)).toThrowError(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: "router: scale must be a number, got undefined",
        details: { operation: "router", argument: "scale", expected: "a number", actual: "undefined" },
      }),
    );
  });

  test("errors that are not of the library are none", () => {
    expect(() => loose.linear!()).toThrowError(CaracalError);
  });
});
