import { inspect } from "node:util";
import { expect, test } from "vitest";
import { ops } from "../../lib/index.js";
import { backends } from "../support/devices.js";

test.each(backends)("a tensor shows its dtype, shape and device on $name, not its elements", async (device) => {
  using x = device.tensor([1, 2, 3, 4, 5, 6], [2, 3], "bf16");
  const text = `Tensor<bf16, [2, 3]> on ${device.name}`;
  expect(String(x)).toBe(text);
  expect(inspect({ x }, { breakLength: Number.POSITIVE_INFINITY })).toBe(`{ x: ${text} }`);
  expect(Object.prototype.toString.call(x)).toBe("[object Tensor<bf16, [2, 3]>]");
  expect(String(device.zeros([]))).toBe(`Tensor<f32, []> on ${device.name}`);
  using weight = ops.packWeight(device.zeros([16, 8]));
  expect(String(weight)).toBe(`PackedWeight<f32, [16, 8], matrix> on ${device.name}`);
  x.dispose();
  expect(inspect(x)).toBe(`${text}, disposed`);
});
