import { afterAll, describe, expect, test } from "vitest";
import { Device, Graph, ops, type Tensor } from "../../lib/index.js";
import { allDevices, cuda } from "../support/devices.js";
import { settledMemory } from "../support/garbage.js";

const values = (n: number, seed = 1) => Float32Array.from({ length: n }, (_, i) => Math.sin(seed * 7.3 + i));
const bits = async (t: Tensor) => [...(await t.read())];

test("a function's own error is passed on also when it disposed the device", async () => {
  const thrown = new Error("thrown by the caller");
  const runs: ((device: Device, fn: () => void) => unknown)[] = [
    (device, fn) => device.scope(fn),
    (device, fn) => device.fork(fn),
    (device, fn) => Graph.capture(device, fn),
    (device, fn) => device.fork(() => Graph.capture(device, fn)),
  ];
  for (const run of runs) {
    const device = await Device.open({ backend: "cpu", threads: 1 });
    const failing = () => {
      device.dispose();
      throw thrown;
    };
    expect(() => run(device, failing)).toThrow(thrown);
  }
});

test("Tensor.write keeps the memory of its copy for the next one", async () => {
  await using device = await Device.open({ backend: "cpu", threads: 1 });
  using x = device.zeros([2 ** 18]);
  const settled = async () => {
    await settledMemory(device);
    return device.memory;
  };
  const before = await settled();
  x.write(values(2 ** 18));
  const after = await settled();
  expect(after).toEqual({ inUse: before.inUse, peak: before.inUse + 2 ** 20, cached: before.cached + 2 ** 20 });
  x.write(values(2 ** 18, 2));
  expect(await settled()).toEqual(after);
  expect(await bits(x)).toEqual([...values(2 ** 18, 2)]);
});

describe.each(allDevices)("Tensor.write on $name", (device) => {
  test("overwrites elements in the order of the queue", async () => {
    using x = device.tensor([1, 2, 3, 4], [4]);
    using before = ops.add(x, x);
    x.write([5, 6, 7, 8]);
    using after = ops.add(x, x);
    expect([await bits(before), await bits(after)]).toEqual([
      [2, 4, 6, 8],
      [10, 12, 14, 16],
    ]);
  });

  test("writes the rows of a view, converts the values, and copies them immediately", async () => {
    using x = device.zeros([3, 2], "bf16");
    const row = Float32Array.of(1.5, -2);
    using view = x.slice(1, 2);
    view.write(row);
    row.fill(9);
    expect([...(await x.toFloat32Array())]).toEqual([0, 0, 1.5, -2, 0, 0]);
  });

  test("refuses values that do not fit, and disposed tensors", () => {
    using x = device.zeros([3], "i32");
    expect(() => x.write([1, 2])).toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
    expect(() => x.write(values(3))).toThrow(expect.objectContaining({ code: "DTYPE_MISMATCH" }));
    x.dispose();
    expect(() => x.write([1, 2, 3])).toThrow(expect.objectContaining({ code: "DISPOSED" }));
  });
});

describe.each(allDevices)("Graph on $name", (device) => {
  const [rows, width] = [5, 72];
  const weight = ops.packWeight(device.tensor(values(width * width), [width, width], "bf16"));
  afterAll(() => weight.dispose());

  /** Several operations with temporaries and a constant. */
  const step = (x: Tensor<"f32">) => {
    const bias = device.tensor(values(width, 3), [width]);
    const y = ops.linear(ops.add(x, x), weight, { activation: "silu", bias });
    return ops.rmsNorm(ops.add(y, x), bias, { eps: 1e-6 });
  };

  test("a replay computes the same values as the calls", async () => {
    using x = device.zeros([rows, width]);
    using graph = Graph.capture(device, () => step(x));
    for (const seed of [1, 2, 3]) {
      x.write(values(rows * width, seed));
      graph.replay();
      using called = device.scope(() => step(x));
      expect(await bits(graph.result)).toEqual(await bits(called));
    }
  });

  test("consecutive replays run in order", async () => {
    using sum = device.zeros([2, 3]);
    using one = device.tensor([1, 2, 3, 4, 5, 6], [2, 3]);
    using graph = Graph.capture(device, () => {
      using next = ops.add(sum, one);
      ops.copyRows(sum, next);
    });
    for (let i = 0; i < 50; i++) graph.replay();
    expect(await bits(sum)).toEqual([50, 100, 150, 200, 250, 300]);
  });

  test("other operations do not use its memory between replays", async () => {
    using x = device.tensor(values(rows * width), [rows, width]);
    using graph = Graph.capture(device, () => step(x));
    graph.replay();
    const first = await bits(graph.result);
    graph.result.write(new Float32Array(rows * width).fill(Number.NaN)); // the next replay overwrites it
    for (let i = 0; i < 20; i++) device.scope(() => step(device.zeros([rows, width])));
    graph.replay();
    expect(await bits(graph.result)).toEqual(first);
  });

  test("nothing runs before the first replay", async () => {
    using x = device.tensor([1, 2], [2]);
    using graph = Graph.capture(device, () => ops.add(x, x));
    await expect(graph.result.read()).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/not been replayed/),
    });
    using from = ops.add(graph.result, x);
    await expect(from.read()).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    graph.replay();
    expect(await bits(graph.result)).toEqual([2, 4]);
  });

  test("invalid data fails only the replay that reads it", async () => {
    using table = device.tensor(values(8), [4, 2]);
    using ids = device.tensor([0, 3], [2], "i32");
    using graph = Graph.capture(device, () => ops.add(ops.gatherRows(table, ids), ops.gatherRows(table, ids)));
    graph.replay();
    const right = await bits(graph.result);
    ids.write([0, 4]);
    graph.replay();
    await expect(graph.result.read()).rejects.toMatchObject({
      code: "INDEX_OUT_OF_RANGE",
      message: expect.stringMatching(/4/),
    });
    ids.write([0, 3]);
    graph.replay();
    expect(await bits(graph.result)).toEqual(right);
  });

  test("invalid data fails only the replay that reads it, though nothing is read between replays", async () => {
    using table = device.tensor([1, 2, 3, 4], [2, 2]);
    using ids = device.tensor([9], [1], "i32");
    using graph = Graph.capture(device, () => {
      const state = device.zeros([1, 2]);
      ops.copyRows(state, ops.gatherRows(table, ids));
      return { state, copy: ops.add(state, state) };
    });
    graph.replay();
    ids.write([1]);
    graph.replay();
    expect([await bits(graph.result.state), await bits(graph.result.copy)]).toEqual([
      [3, 4],
      [6, 8],
    ]);
    graph.replay();
    ids.write([-1]);
    graph.replay();
    await expect(graph.result.copy.read()).rejects.toMatchObject({ details: { value: -1 } });
  });

  test("a tensor that replays write in place keeps the error of an earlier one", async () => {
    using table = device.tensor([1, 2, 3, 4], [2, 2]);
    using ids = device.tensor([9], [1], "i32");
    using state = device.zeros([1, 2]);
    using graph = Graph.capture(device, () => ops.copyRows(state, ops.gatherRows(table, ids)));
    graph.replay();
    ids.write([1]);
    graph.replay();
    await expect(state.read()).rejects.toMatchObject({ code: "INDEX_OUT_OF_RANGE" });
    state.write([0, 0]);
    graph.replay();
    expect(await bits(state)).toEqual([3, 4]);
  });

  test("its result has the error of a tensor that it reads until that is overwritten", async () => {
    using table = device.tensor(values(8), [4, 2]);
    using bad = device.tensor([9], [1], "i32");
    using x = ops.gatherRows(table, bad);
    using graph = Graph.capture(device, () => ops.add(x, x));
    graph.replay();
    await expect(graph.result.read()).rejects.toMatchObject({ code: "INDEX_OUT_OF_RANGE" });
    x.write([1, 2]);
    graph.replay();
    expect(await bits(graph.result)).toEqual([2, 4]);
  });

  test("keeps its inputs alive, and its result outlives the scope of its capture", async () => {
    const graph = device.scope(() => {
      const x = device.tensor([1, 2, 3], [3]);
      const captured = Graph.capture(device, () => ops.add(x, x));
      return captured;
    });
    graph.replay();
    expect(await bits(graph.result)).toEqual([2, 4, 6]);
    graph.dispose();
    expect(() => graph.replay()).toThrow(expect.objectContaining({ code: "DISPOSED" }));
    expect(graph.result.disposed).toBe(true);
    graph.dispose();
  });

  test("every replay clears the tensors that zeros() creates", async () => {
    using x = device.tensor([1, 2], [1, 2]);
    using graph = Graph.capture(device, () => {
      const state = device.zeros([2, 2]);
      const seen = ops.add(state, state);
      ops.copyRows(state, x);
      return { state, seen };
    });
    graph.replay();
    graph.replay();
    expect([await bits(graph.result.state), await bits(graph.result.seen)]).toEqual([
      [1, 2, 0, 0],
      [0, 0, 0, 0],
    ]);
  });

  test("a graph may contain a fork", async () => {
    using x = device.zeros([rows, width]);
    const forked = () => {
      const beside = device.fork(() => step(x));
      return ops.add(step(ops.add(x, x)), beside);
    };
    using graph = Graph.capture(device, forked);
    x.write(values(rows * width));
    graph.replay();
    using called = device.scope(forked);
    expect(await bits(graph.result)).toEqual(await bits(called));
  });

  test("a capture refuses captures, writes, replays, and promises", async () => {
    using x = device.zeros([2]);
    using other = Graph.capture(device, () => ops.add(x, x));
    const inside = (fn: () => unknown) => () => Graph.capture(device, fn);
    const invalid = expect.objectContaining({ code: "INVALID_ARGUMENT" });
    expect(inside(() => Graph.capture(device, () => 1))).toThrow(invalid);
    expect(inside(() => x.write([1, 2]))).toThrow(invalid);
    expect(inside(() => other.replay())).toThrow(invalid);
    expect(inside(async () => {})).toThrow(invalid);
    using after = ops.add(x, x); // the device still works
    expect(await bits(after)).toEqual([0, 0]);
  });
});

describe.each(allDevices)("Device.fork on $name", (device) => {
  const size = [64, 96] as const;
  const input = () => device.tensor(values(size[0] * size[1]), size);

  test("an operation that reads a result of the fork waits for it", async () => {
    const run = (fork: <T>(fn: () => T) => T) =>
      device.scope(() => {
        const x = input();
        const branch = fork(() => ops.add(ops.add(x, x), ops.mul(x, x)));
        const trunk = ops.mul(ops.add(x, x), x);
        return ops.add(trunk, branch);
      });
    using beside = run((fn) => device.fork(fn));
    using inOrder = run((fn) => fn());
    expect(await bits(beside)).toEqual(await bits(inOrder));
  });

  test("the inputs of the fork are not overwritten, and its memory is not reused", async () => {
    for (let round = 0; round < 20; round++) {
      using branch = device.scope(() => {
        const x = input();
        const sum = device.fork(() => ops.add(ops.add(x, x), x));
        x.write(new Float32Array(size[0] * size[1])); // the fork reads x
        return sum;
      });
      using others = device.scope(() => ops.add(device.zeros(size), device.zeros(size)));
      const expected = Float32Array.from(values(size[0] * size[1]), (v) => Math.fround(Math.fround(v + v) + v));
      expect(await bits(branch)).toEqual([...expected]);
      expect((await others.read()).every((v) => v === 0)).toBe(true);
    }
  });

  test("forks may follow each other or be nested, and read each other's results", async () => {
    using x = input();
    using a = device.fork(() => device.fork(() => ops.add(x, x)));
    using b = device.fork(() => ops.add(a, x));
    using c = ops.add(b, a);
    const expected = Array.from(await x.read(), (v) =>
      Math.fround(Math.fround(Math.fround(v + v) + v) + Math.fround(v + v)),
    );
    expect(await bits(c)).toEqual(expected);
    expect((await b.read()).length).toBe(x.size);
  });

  test("a graph is replayed within a fork, the first time and later", async () => {
    const x = device.tensor([1], [1]);
    const sum = device.zeros([1]);
    using graph = Graph.capture(device, () => {
      const beside = device.fork(() => ops.add(x, x));
      ops.copyRows(sum, ops.add(sum, beside));
      return beside;
    });
    const replayed = (value: number) =>
      device.fork(() => {
        x.write([value]);
        graph.replay();
        return ops.add(graph.result, sum); // reads the replay's results within its fork
      });
    const results: Tensor[] = [];
    for (const value of [1, 7, 20]) {
      results.push(replayed(value));
      results.push(ops.mul(graph.result, sum));
    }
    x.write([2]);
    graph.replay();
    expect(await bits(graph.result)).toEqual([4]);
    expect((await Promise.all(results.map(bits))).flat()).toEqual([4, 4, 30, 224, 96, 2240]);
    expect(await bits(sum)).toEqual([60]);
  });

  test("a graph that fails within a fork leaves it usable", async () => {
    using table = device.tensor([1, 2], [2, 1]);
    using ids = device.tensor([2], [1], "i32");
    using graph = Graph.capture(device, () => ops.gatherRows(table, ids));
    using beside = device.fork(() => {
      const before = ops.add(table, table);
      graph.replay();
      return ops.add(before, table);
    });
    await expect(graph.result.read()).rejects.toMatchObject({ code: "INDEX_OUT_OF_RANGE" });
    expect(await bits(beside)).toEqual([3, 6]);
  });

  test("a function that throws ends its fork", async () => {
    using x = input();
    expect(() =>
      device.fork(() => {
        throw new Error("mine");
      }),
    ).toThrow("mine");
    using y = device.fork(() => ops.add(x, x));
    expect((await y.read()).length).toBe(x.size);
  });
});

test.skipIf(!cuda)("disposing a graph frees its memory on the GPU", async () => {
  const device = await Device.open({ backend: "cuda" });
  const x = device.zeros([64, 64]);
  await x.read();
  const before = device.memory.inUse;
  const graph = Graph.capture(device, () => {
    const beside = device.fork(() => ops.add(ops.add(x, x), x));
    return ops.add(beside, x);
  });
  graph.replay();
  await graph.result.read();
  expect(device.memory.inUse).toBeGreaterThan(before);
  graph.dispose();
  await device.synchronize();
  expect(device.memory.inUse).toBe(before);
  device.dispose();
});
