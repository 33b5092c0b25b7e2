import { describe, expect, test } from "vitest";
import { cmvnFromStats } from "../../lib/checkpoint/cmvn.js";
import { expectInvalid } from "./files.js";

describe("CMVN statistics", () => {
  const stats = (rows: number, cols: number, ...data: number[]) => ({ rows, cols, data: Float64Array.from(data) });

  test("give the mean and the inverse standard deviation", () => {
    // Four frames: 1, 3, 5, 7 (mean 4, variance 5) and always 2 (variance 0).
    const { mean, istd } = cmvnFromStats(stats(2, 3, 16, 8, 4, 84, 16, 0), "cmvn");
    expect([...mean]).toEqual([4, 2]);
    expect(istd[0]).toBeCloseTo(1 / Math.sqrt(5), 12);
    expect(istd[1]).toBe(2 ** 23);
  });

  test.each([
    ["one row", stats(1, 3, 1, 2, 3), /\[2, features \+ 1\], got \[1, 3\]/],
    ["no frames", stats(2, 2, 1, 0, 1, 0), /frame count above 0/],
    ["infinite sums", stats(2, 2, Infinity, 1, 1, 0), /finite/],
    ["an impossible variance", stats(2, 2, 4, 2, 1, 0), /variance of feature 0 is negative/],
  ] as const)("with %s are refused", async (_, matrix, message) => {
    await expectInvalid((async () => cmvnFromStats(matrix, "cmvn"))(), message);
  });
});
