// The speech decoder magnifies what its first layers lose about fifteenfold, so the sums of its operations are held to less than
// the rounding of one f32 chain, at the depths of the published model and against double precision.
import { describe, expect, test } from "vitest";
import * as ops from "../../lib/ops/index.js";
import { allDevices } from "../support/devices.js";
import { randomArray, relativeError } from "../support/numbers.js";

describe.each(allDevices)("accuracy on $name", (device) => {
  test("conv1d: sums of 5376 products", async () => {
    const [rows, channels, outputs, taps] = [8, 768, 5, 7];
    const [x, w] = [randomArray(rows * channels, 1), randomArray(outputs * channels * taps, 2)];
    const expected = Array.from({ length: rows * outputs }, (_, i) => {
      const [t, o] = [Math.floor(i / outputs), i % outputs];
      let sum = 0;
      for (let tap = Math.max(0, 3 - t); tap < Math.min(taps, rows + 3 - t); tap++)
        for (let c = 0; c < channels; c++)
          sum += w[(o * channels + c) * taps + tap]! * x[(t + tap - 3) * channels + c]!;
      return sum;
    });
    const y = ops.conv1d(device.tensor(x, [rows, channels]), device.tensor(w, [outputs, channels, taps]), {
      padding: "symmetric",
    });
    expect(relativeError(await y.toFloat32Array(), expected)).toBeLessThan(3e-7);
  });

  test.each([8, 3])("convTranspose1d: sums of 1536 products, kernel 8 and stride %d", async (stride) => {
    const [rows, channels, outputs, taps] = [3, 1536, 4, 8];
    const [x, w] = [randomArray(rows * channels, 3), randomArray(channels * outputs * taps, 4)];
    const expected = new Float64Array(((rows - 1) * stride + taps) * outputs);
    for (let t = 0; t < rows; t++)
      for (let c = 0; c < channels; c++)
        for (let o = 0; o < outputs; o++)
          for (let j = 0; j < taps; j++)
            expected[(t * stride + j) * outputs + o]! += w[(c * outputs + o) * taps + j]! * x[t * channels + c]!;
    const y = ops.convTranspose1d(device.tensor(x, [rows, channels]), device.tensor(w, [channels, outputs, taps]), {
      stride,
    });
    expect(relativeError(await y.toFloat32Array(), expected)).toBeLessThan(3e-7);
  });

  test("lstm: sums of 1024 products", async () => {
    const [inputs, hidden] = [1024, 64];
    const [x, w] = [randomArray(inputs, 6), randomArray(4 * hidden * inputs, 7)];
    const zero = () => device.zeros([hidden]);
    const c = zero();
    const y = ops.lstm(device.tensor(x, [1, inputs]), {
      wIh: device.tensor(w, [4 * hidden, inputs]),
      wHh: device.zeros([4 * hidden, hidden]),
      h: zero(),
      c,
    });
    const sigmoid = (v: number) => 1 / (1 + Math.exp(-v));
    const gate = (i: number) => x.reduce((sum, v, k) => sum + v * w[i * inputs + k]!, 0);
    const cells = Array.from({ length: hidden }, (_, u) => sigmoid(gate(u)) * Math.tanh(gate(2 * hidden + u)));
    const expected = cells.map((cell, u) => sigmoid(gate(3 * hidden + u)) * Math.tanh(cell));
    expect(relativeError(await c.toFloat32Array(), cells)).toBeLessThan(6e-7);
    expect(relativeError(await y.toFloat32Array(), expected)).toBeLessThan(6e-7);
  });
});
