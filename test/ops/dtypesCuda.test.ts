// Every pair of dtypes for which an operation has a kernel of its own on the CUDA backend, compared with the CPU.
import { describe, expect, test } from "vitest";
import * as ops from "../../lib/ops/index.js";
import { dtypes } from "../../lib/tensor/dtype.js";
import type { Device, Tensor } from "../../lib/tensor/tensor.js";
import { cuda, devices } from "../support/devices.js";
import { randomArray, relativeError } from "../support/numbers.js";

const floats = ["f32", "bf16"] as const;
const pairs = floats.flatMap((x) => floats.map((w) => [x, w] as const));
const [rows, columns] = [5, 24];

describe.skipIf(!cuda)("dtypes on CUDA alone", () => {
  async function agree(compute: (device: Device) => Tensor[], tolerance: number) {
    const read = async (device: Device) => Promise.all(compute(device).map((y) => y.toFloat32Array()));
    const [actual, expected] = [await read(cuda!), await read(devices.at(-1)!)];
    actual.forEach((y, i) => void expect(relativeError(y, expected[i]!)).toBeLessThan(tolerance));
  }
  const random = (device: Device, shape: readonly number[], dtype: (typeof floats)[number], seed = 1) =>
    device.tensor(
      randomArray(
        shape.reduce((n, d) => n * d, 1),
        seed,
      ),
      shape,
      dtype,
    );

  test.each(pairs)("%s rows with parameters of %s", async (x, w) => {
    const compute = (device: Device) => {
      const a = random(device, [rows, columns], x) as Tensor<typeof x, readonly [number, number]>;
      const v = random(device, [columns], w, 2) as Tensor<typeof w, readonly [number]>;
      return [
        ops.rmsNorm(a, v),
        ops.layerNorm(a, v, v),
        ops.add(a, random(device, [rows, columns], w, 3) as never),
        ops.snake(a, v),
        ops.fsmnMemory(a, random(device, [columns, 4], w, 4), { leftOrder: 3 }),
        ops.conv1d(a, random(device, [columns, 1, 3], w, 5) as never, { groups: columns }),
      ];
    };
    await agree(compute, x === "bf16" ? 4e-3 : 1e-6); // one bf16 step apart at a rounding tie
  });

  test.each(pairs)("a cache of %s with rows of %s", async (cached, kv) => {
    for (const norm of floats)
      await agree(
        (device) => {
          const cache = device.zeros([2, 4, 32], cached);
          ops.mlaCacheWrite({
            kv: random(device, [rows, 32], kv) as never,
            normWeight: random(device, [24], norm, 2) as never,
            positions: device.tensor([0, 1, 9, 12, 5], [rows], "i32"),
            slots: device.tensor([7, 0, 3, 6, 4], [rows], "i32"),
            cache: cache as never,
            eps: 1e-5,
            scale: 3.5,
            theta: 1e7,
          });
          return [cache];
        },
        cached === "bf16" ? 4e-3 : 1e-6,
      );
  });

  test.each(pairs)("prompt rows of %s from tables of %s", async (outDtype, tables) => {
    await agree((device) => {
      const textTable = random(device, [7, columns], tables) as Tensor<typeof tables, readonly [number, number]>;
      const ids = (values: number[], ...shape: number[]) => device.tensor(values, shape, "i32");
      return [
        ops.stepEmbedding({
          textTable,
          codecTables: [textTable],
          textIds: ids([1, -1, 6], 3) as never,
          codecIds: ids([2, 3, -1], 3, 1) as never,
          outDtype,
        }),
      ];
    }, 1e-6);
  });

  test.each(dtypes)("casts of %s", async (from) => {
    const values = from === "i32" || from === "u8" ? Array.from({ length: 40 }, (_, i) => 3 * i) : randomArray(40, 1);
    for (const to of ["f32", "f16", "bf16", "f8e4m3"] as const)
      await agree((device) => [ops.cast(device.tensor(values, [40], from), to)], 1e-9);
  });

  test.each([4, 8, 12])("columns of %i f32", async (width) => {
    await agree((device) => ops.splitColumns(random(device, [rows, columns], "f32"), [width, columns - width]), 1e-9);
  });
});
