import { expect, test } from "vitest";
import { distribution, quantile, slope } from "../../../bench/live/distribution.js";

test("quantiles are values of the sample", () => {
  const values = Array.from({ length: 100 }, (_, i) => 100 - i);
  expect(distribution(values)).toEqual({ p50: 51, p95: 96, p99: 100 });
  expect([quantile([7], 0), quantile([7], 0.99), quantile([3, 1, 2], 1)]).toEqual([7, 7, 3]);
  expect(quantile([], 0.5)).toBeUndefined();
});

test("the slope is that of the line through the points", () => {
  expect(
    slope([
      [0, 1],
      [1, 3],
      [2, 5],
      [10, 21],
    ]),
  ).toBeCloseTo(2, 12);
  expect(
    slope([
      [0, 0],
      [1, 2],
      [2, 1],
    ]),
  ).toBeCloseTo(0.5, 12);
  expect(slope([[1, 1]])).toBeUndefined();
});
