// An LSTM on a GPU with so few multiprocessors that a block would have more units than threads.
import { expect, test, vi } from "vitest";
import { lstm } from "../../lib/ops/audio.js";
import type { Device } from "../../lib/tensor/tensor.js";
import { cuda, devices } from "../support/devices.js";
import { randomArray, relativeError } from "../support/numbers.js";

vi.hoisted(() => {
  process.env.CARACAL_VGPU_SM_COUNT = "1";
});

test.skipIf(!cuda)("more units than a block has threads", async () => {
  const [steps, inputs, hidden] = [3, 2, 516];
  const tensor = (on: Device, seed: number, shape: readonly [number, number]) =>
    on.tensor(randomArray(shape[0] * shape[1], seed, 0.1), shape);
  const run = (on: Device) =>
    lstm(tensor(on, 1, [steps, inputs]), {
      wIh: tensor(on, 2, [4 * hidden, inputs]),
      wHh: tensor(on, 3, [4 * hidden, hidden]),
      h: on.zeros([hidden]),
      c: on.zeros([hidden]),
    }).toFloat32Array();
  expect(relativeError(await run(cuda as Device), await run(devices[0] as Device))).toBeLessThan(2e-6);
});
