// What plain JavaScript passes to tensors, views and scopes: refused with what came, or taken exactly.
import { describe, expect, test } from "vitest";
import * as ops from "../../lib/ops/index.js";
import { Graph } from "../../lib/tensor/graph.js";
import { Device, disposeAll, Tensor } from "../../lib/tensor/tensor.js";
import { code } from "../support/errors.js";

const device = await Device.open({ backend: "cpu", threads: 1 });

/** Matches an INVALID_ARGUMENT that names what came. */
const refused = (got: string) =>
  expect.objectContaining({
    name: "CaracalError",
    code: "INVALID_ARGUMENT",
    message: expect.stringMatching(new RegExp(`got ${got}$`)),
  });

describe("what only looks like a tensor or a device", () => {
  const x = device.zeros([2]);
  test.each<[string, unknown, string]>([
    ["a proxy", new Proxy(x, {}), "a proxy of an object of class Tensor"],
    ["an heir", Object.create(x), "an object that inherits from an object of class Tensor"],
  ])("%s of a tensor is refused", (_, value, got) => {
    expect(value).not.toBeInstanceOf(Tensor);
    expect(() => ops.add(x, value as typeof x)).toThrowError(refused(got));
    expect(() => ops.concatRows([x, value as Tensor])).toThrowError(refused(got));
    expect(() => ops.argmax(x as never, { allowed: value as never })).toThrowError(refused(got));
    disposeAll([value]); // finds no tensor in it
    expect(x.disposed).toBe(false);
  });

  test("a proxy of a device is refused", () => {
    const proxy = new Proxy(device, {});
    expect(proxy).not.toBeInstanceOf(Device);
    const got = refused("a proxy of an object of class Device");
    expect(() => Graph.capture(proxy, () => x)).toThrowError(got);
    expect(() => new ops.FbankStream(proxy)).toThrowError(got);
  });

  test.each([undefined, null, 5, {}, "x"])("a scope, fork and capture refuse %s for their function", (fn) => {
    const got = refused(
      fn !== null && typeof fn === "object" ? "an empty object" : (JSON.stringify(fn) ?? "undefined"),
    );
    expect(() => device.scope(fn as never)).toThrowError(got);
    expect(() => device.fork(fn as never)).toThrowError(got);
    expect(() => Graph.capture(device, fn as never)).toThrowError(got);
    expect(() => Graph.capture(fn as never, () => x)).toThrowError(got);
    device.zeros([1]); // the device is in no capture or fork
  });
});

describe("lists that claim to be endless", () => {
  const endless = (length: number): number[] =>
    new Proxy([], { get: (list, key) => (key === "length" ? length : Reflect.get(list, key)) });

  test.each([2 ** 32, 2 ** 40])("of %d elements are refused before they are read", (length) => {
    const x = device.zeros([2]);
    const list = endless(length);
    expect(() => x.reshape(list as never)).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => device.zeros(list)).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => device.tensor([1], list as never)).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => device.tensor(list, [2])).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => x.write(list)).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => ops.maskRows(x, list)).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => ops.concatRows(list as never)).toThrowError(code("INVALID_ARGUMENT"));
  });

  test("of as many elements as a shape, but more than there is room for", () => {
    expect(() => device.tensor(endless(2 ** 40), [2 ** 40])).toThrowError(code("OUT_OF_MEMORY"));
  });
});

describe("numbers as values", () => {
  test("integers are kept exactly, at the ends of their range", async () => {
    const ids = [-(2 ** 31), -1, 0, 2 ** 31 - 1];
    expect([...(await device.tensor(ids, [4], "i32").read())]).toEqual(ids);
    expect([...(await device.tensor([0, 255], [2], "u8").read())]).toEqual([0, 255]);
    expect([...(await device.tensor([1.5, Number.POSITIVE_INFINITY], [2]).read())]).toEqual([1.5, Infinity]);
  });

  test.each([
    ["i32", 2 ** 32 + 300, "4294967596"],
    ["i32", 2 ** 31, "2147483648"],
    ["i32", 1.5, "1.5"],
    ["i32", Number.NaN, "NaN"],
    ["i32", "3", '"3"'],
    ["i32", undefined, "undefined"],
    ["u8", 256, "256"],
    ["u8", -1, "-1"],
    ["f32", "3", '"3"'],
    ["f32", 3n, "3n"],
    ["f32", null, "null"],
    ["f32", [3], "a list of 1"],
  ] as const)("%s does not hold %s", (dtype, value, got) => {
    expect(() => device.tensor([0, value] as number[], [2], dtype)).toThrowError(refused(got));
    expect(() => device.zeros([2], dtype).write([0, value] as number[])).toThrowError(refused(got));
    expect(() => device.tensor([0, value] as number[], [2], dtype)).toThrowError(/values\[1\]/);
  });

  test("an id above 2³² is not the id of its low bits", () => {
    expect(() => device.tensor([2 ** 32 + 300], [1], "i32")).toThrowError(code("INVALID_ARGUMENT"));
  });

  test.each([
    [null, "null"],
    ["12", '"12"'],
    [12, "12"],
    [new ArrayBuffer(8), "ArrayBuffer of 8 bytes"],
    [new Set([1, 2]), "an object of class Set"],
    [{ length: 2 }, "an object with length"],
  ])("values are arrays, not %s", (values, got) => {
    expect(() => device.tensor(values as never, [2])).toThrowError(refused(got));
  });

  test("arrays of other types are refused by name", () => {
    expect(() => device.tensor(new Int16Array(2) as never, [2])).toThrowError(/got a Int16Array$/);
    expect(() => device.tensor(new BigInt64Array(2) as never, [2], "i32")).toThrowError(/got a BigInt64Array$/);
    expect(() => device.tensor(new DataView(new ArrayBuffer(8)) as never, [2])).toThrowError(code("INVALID_ARGUMENT"));
  });

  test("memory that is shared with other threads is refused", () => {
    const shared = new Float32Array(new SharedArrayBuffer(8));
    const want = expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining("SharedArray") });
    expect(() => device.tensor(shared, [2])).toThrowError(want);
    expect(() => device.zeros([2]).write(shared)).toThrowError(want);
    expect(device.tensor(shared.slice(), [2]).shape).toEqual([2]);
  });
});

describe("shapes", () => {
  const x = device.zeros([2, 3]);

  test.each([
    [null, "null"],
    ["6", '"6"'],
    [6, "6"],
    [undefined, "undefined"],
    [["6"], '"6"'],
    [[2.5, 2.4], "2.5"],
    [[-2, -3], "-2"],
    [[6n], "6n"],
    [{ 0: 6, length: 1 }, "an object with 0, length"],
  ])("reshape(%s)", (shape, got) => {
    expect(() => x.reshape(shape as never)).toThrowError(refused(got));
  });

  test.each<[unknown, unknown, string]>([
    [0n, 1, "0n"],
    [0, 1n, "1n"],
    ["0", 1, '"0"'],
    [0.5, 1, "0.5"],
    [0, Number.NaN, "NaN"],
    [null, 1, "null"],
    [[0], 1, "a list of 1"],
  ])("slice(%s, %s)", (start, end, got) => {
    expect(() => x.slice(start as never, end as never)).toThrowError(refused(got));
  });

  test.each<[string, unknown, string]>([
    ["a string", "6", '"6"'],
    ["null", null, "null"],
    ["fractions", [1.5], "1.5"],
    ["strings", ["6"], '"6"'],
    ["bigints", [6n], "6n"],
    ["what is no safe integer", [2 ** 53], "9007199254740992"],
  ])("zeros() of %s", (_, shape, got) => {
    expect(() => device.zeros(shape as never)).toThrowError(refused(got));
  });

  test("a tensor without elements has a limit too, since operations visit its rows", async () => {
    expect(() => device.zeros([10 ** 12, 0])).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => device.zeros([0, 10 ** 12])).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => device.zeros([2 ** 28 + 1, 0])).toThrowError(code("SHAPE_MISMATCH"));
    const empty = device.zeros([2 ** 20, 0]);
    expect(await ops.add(empty, empty).read()).toHaveLength(0);
  });
});

test("a scope finds tensors at any depth of its result", async () => {
  const depth = 100_000; // far deeper than calls can nest
  interface Nested {
    tensor?: Tensor;
    inner?: Nested;
  }
  const result = device.scope(() => {
    const root: Nested = {};
    let at = root;
    for (let i = 0; i < depth; i++) at = at.inner = {};
    at.tensor = device.tensor([7], [1]);
    return root;
  });
  let at = result;
  while (at.inner) at = at.inner;
  expect([...(await at.tensor!.read())]).toEqual([7]);
});

describe("streams refuse what is not a piece", () => {
  const rows = [null, undefined, [1, 2], new Float32Array(3), "x"];
  const streams = {
    splice: new ops.SpliceStream(device, 4, { left: 1, right: 1 }),
    fsmn: new ops.FsmnMemoryStream(device.zeros([4, 2]), { leftOrder: 1 }),
    conv1d: new ops.Conv1dStream(device.zeros([4, 4, 3])),
    convTranspose1d: new ops.ConvTranspose1dStream(device.zeros([4, 4, 3]), { stride: 2 }),
  };

  test.each(Object.entries(streams))("%s", (_, stream) => {
    for (const x of rows) expect(() => stream.push(x as never)).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => stream.push(device.zeros([4]) as never)).toThrowError(code("SHAPE_MISMATCH"));
    expect(stream.push(device.zeros([6, 4])).shape).toHaveLength(2); // and goes on
  });

  test("fbank", () => {
    const stream = new ops.FbankStream(device);
    for (const samples of [undefined, null, [1, 2], new Float64Array(400), device.zeros([400])])
      expect(() => stream.push(samples as never)).toThrowError(code("INVALID_ARGUMENT"));
    expect(stream.push(new Float32Array(400)).shape).toEqual([1, 80]);
  });

  test.each<[string, () => unknown]>([
    ["FbankStream", () => new ops.FbankStream(undefined as never)],
    ["SpliceStream", () => new ops.SpliceStream(null as never, 4, { left: 1, right: 1 })],
    ["SpliceStream's options", () => new ops.SpliceStream(device, 4, undefined as never)],
    ["FsmnMemoryStream", () => new ops.FsmnMemoryStream(undefined as never, { leftOrder: 1 })],
    ["FsmnMemoryStream's options", () => new ops.FsmnMemoryStream(device.zeros([4, 2]), undefined as never)],
    ["Conv1dStream", () => new ops.Conv1dStream([1] as never)],
    ["ConvTranspose1dStream", () => new ops.ConvTranspose1dStream(null as never, { stride: 2 })],
    ["ConvTranspose1dStream's options", () => new ops.ConvTranspose1dStream(device.zeros([4, 4, 3]), null as never)],
  ])("constructor of %s", (_, make) => {
    expect(make).toThrowError(code("INVALID_ARGUMENT"));
  });
});

/** The operations as plain JavaScript sees them. */
const loose = Object.entries(ops).filter(([name, value]) => typeof value === "function" && !name.endsWith("Stream"));

describe.each(loose)("ops.%s", (name, operation) => {
  const run = operation as (...args: unknown[]) => unknown;
  const x = device.zeros([4, 4]);
  test.each([
    ["nothing", []],
    ["null", [null, null, null, null, null]],
    ["numbers", [1, 2, 3, 4, 5]],
    ["strings", ["a", "b", "c", "d", "e"]],
    ["arrays", [[], [], [], [], []]],
    ["objects", [{}, {}, {}, {}, {}]],
    ["a tensor and null", [x, null, null, null, null]],
    ["a tensor and objects", [x, {}, {}, {}, {}]],
    ["tensors and null", [x, x, null, null, null]],
    ["tensors", [x, x, x, x, x]],
  ])("refuses %s with an error of the library, or takes them", (_, args) => {
    try {
      run(...args);
    } catch (error) {
      expect(error, name).toMatchObject({ name: "CaracalError" });
      expect((error as Error).message).toMatch(/\S/);
    }
  });
});

describe("a scope whose result cannot be searched disposes everything", () => {
  test.each<[string, () => unknown]>([
    ["a getter throws", () => Object.defineProperty({}, "b", { enumerable: true, get: () => fail() })],
    ["it presents endlessly many objects", () => endless()],
  ])("%s", (_, result) => {
    let made: Tensor | undefined;
    const scoped = () => {
      made = device.zeros([4]);
      return result();
    };
    expect(() => device.scope(scoped)).toThrow();
    expect(made!.disposed).toBe(true);
  });

  const fail = () => {
    throw new Error("unreadable");
  };
  const endless = (): object =>
    new Proxy(
      {},
      {
        ownKeys: () => ["next"],
        getOwnPropertyDescriptor: () => ({ configurable: true, enumerable: true, value: 1 }),
        get: (_, key) => (key === "next" ? endless() : undefined),
      },
    );
});
