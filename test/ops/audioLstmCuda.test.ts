// Tests of lstm that concern only the CUDA backend: blocks that wait for each other, weights that only partly fit into
// shared memory, unaligned rows.
import { describe, expect, test, vi } from "vitest";
import { lstm } from "../../lib/ops/audio.js";
import { Graph } from "../../lib/tensor/graph.js";
import type { Device, Tensor } from "../../lib/tensor/tensor.js";
import { cuda, devices } from "../support/devices.js";
import { bf16, randomArray, relativeError } from "../support/numbers.js";

// So few multiprocessors that a block has more units than fit into its shared memory.
vi.hoisted(() => {
  process.env.CARACAL_VGPU_SM_COUNT = "4";
});

type Values = "f32" | "bf16";

describe.skipIf(!cuda)("lstm on CUDA", () => {
  const device = cuda as Device;
  const cpu = devices[devices.length - 1] as Device;

  const cell = (on: Device, inputs: number, hidden: number, dtype: Values) => {
    const make = (shape: readonly number[], seed: number, scale: number) => {
      const values = randomArray(shape.reduce((a, b) => a * b) + 1, seed, scale).map(bf16);
      return (skip: number) => {
        const n = values.length - 1;
        const flat = on.tensor(skip ? values : values.subarray(1), [n + skip], dtype);
        return (skip ? flat.slice(1) : flat).reshape(shape);
      };
    };
    const [wIh, wHh] = [make([4 * hidden, inputs], 2, 0.5), make([4 * hidden, hidden], 3, 2 / Math.sqrt(hidden))];
    const [bIh, bHh] = [make([4 * hidden], 4, 1), make([4 * hidden], 5, 1)];
    /** With `skip` 1, tensors are unaligned. */
    return (skip = 0) =>
      ({ wIh: wIh(skip), wHh: wHh(skip), bIh: bIh(skip), bHh: bHh(skip) }) as Omit<
        Parameters<typeof lstm>[1],
        "h" | "c"
      >;
  };
  const state = (on: Device, hidden: number) => ({ h: on.zeros([hidden]), c: on.zeros([hidden]) });

  test.each<[Values, Values, number]>([
    ["f32", "f32", 264],
    ["f32", "f32", 261],
    ["f32", "bf16", 264],
    ["bf16", "bf16", 261],
    ["bf16", "f32", 264],
  ])(
    "%s by %s, %i units: several steps and single ones have the same bits, close to the CPU's",
    async (xs, ws, hidden) => {
      const [steps, inputs] = [4, 8];
      const values = randomArray(steps * inputs, 1);
      const run = (on: Device, skip = 0) => {
        const x = on.tensor(values, [steps, inputs], xs);
        return lstm(x, { ...cell(on, inputs, hidden, ws)(skip), ...state(on, hidden) }).toFloat32Array();
      };
      const whole = await run(device);
      expect(relativeError(whole, await run(cpu))).toBeLessThan(xs === "f32" ? 2e-6 : 4e-3);
      expect(await run(device)).toEqual(whole);
      expect(await run(device, 1)).toEqual(whole);
      const x = device.tensor(values, [steps, inputs], xs);
      const carried = { ...cell(device, inputs, hidden, ws)(), ...state(device, hidden) };
      const parts: number[] = [];
      for (const [from, to] of [
        [0, 1],
        [1, 4],
      ] as const)
        parts.push(...(await lstm(x.slice(from, to) as Tensor<Values>, carried).toFloat32Array()));
      expect(Float32Array.from(parts)).toEqual(whole);
    },
  );

  test("more steps than one chunk", async () => {
    const [steps, inputs, hidden] = [1030, 1, 12];
    const run = (on: Device) => {
      const x = on.tensor(randomArray(steps, 1), [steps, inputs]);
      return lstm(x, { ...cell(on, inputs, hidden, "f32")(), ...state(on, hidden) }).toFloat32Array();
    };
    expect(relativeError(await run(device), await run(cpu))).toBeLessThan(1e-5);
  });

  test("blocks also wait for each other in a graph, whose replays advance the state", async () => {
    const [steps, inputs, hidden] = [3, 8, 40];
    const values = randomArray(2 * steps * inputs, 1);
    const parameters = cell(device, inputs, hidden, "f32")();
    using x = device.tensor(values.subarray(0, steps * inputs), [steps, inputs]);
    const carried = state(device, hidden);
    using graph = Graph.capture(device, () => lstm(x, { ...parameters, ...carried }));
    const parts: number[] = [];
    for (let at = 0; at < values.length; at += steps * inputs) {
      x.write(values.subarray(at, at + steps * inputs));
      graph.replay();
      parts.push(...(await graph.result.toFloat32Array()));
    }
    using whole = lstm(device.tensor(values, [2 * steps, inputs]), { ...parameters, ...state(device, hidden) });
    expect(Float32Array.from(parts)).toEqual(await whole.toFloat32Array());
  });
});
