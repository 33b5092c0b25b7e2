import { describe, expect, test } from "vitest";
import { nextPass, type Slice } from "../../../lib/model/language/passes.js";

/** All passes over prompts of these lengths. */
function passes(lengths: readonly number[], maxRows: number): Slice[][] {
  const prompts = lengths.map((length) => ({ length, done: 0 }));
  const result: Slice[][] = [];
  for (let pass = nextPass(prompts, maxRows); pass.length > 0; pass = nextPass(prompts, maxRows)) {
    result.push(pass);
    for (const { index, to } of pass) prompts[index]!.done = to;
  }
  return result;
}

describe("nextPass", () => {
  test("fills passes in order, and continues a prompt in the next pass", () => {
    expect(passes([5, 2, 4], 6)).toEqual([
      [
        { index: 0, from: 0, to: 5, last: true },
        { index: 1, from: 0, to: 1, last: false },
      ],
      [
        { index: 1, from: 1, to: 2, last: true },
        { index: 2, from: 0, to: 4, last: true },
      ],
    ]);
  });

  test("a prompt longer than a pass takes several passes", () => {
    const slices = passes([7], 3).flat();
    expect(slices.map(({ from, to }) => [from, to])).toEqual([
      [0, 3],
      [3, 6],
      [6, 7],
    ]);
    expect(slices.map(({ last }) => last)).toEqual([false, false, true]);
  });

  test("covers every row once, in passes that are full except the last", () => {
    for (let maxRows = 1; maxRows < 12; maxRows++) {
      const lengths = [3, 1, 9, 4, 1];
      const all = passes(lengths, maxRows);
      const sizes = all.map((pass) => pass.reduce((sum, { from, to }) => sum + to - from, 0));
      expect(sizes.slice(0, -1).every((size) => size === maxRows)).toBe(true);
      lengths.forEach((length, index) => {
        const rows = all.flat().filter((slice) => slice.index === index);
        expect(rows.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i))).toEqual(
          Array.from({ length }, (_, i) => i),
        );
        expect(rows.map(({ last }) => last)).toEqual(rows.map((_, i) => i === rows.length - 1));
      });
    }
  });

  test("gives nothing when all prompts are complete", () => {
    expect(nextPass([{ length: 4, done: 4 }], 8)).toEqual([]);
    expect(nextPass([], 8)).toEqual([]);
  });
});
