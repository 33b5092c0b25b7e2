// A few seconds of the random calls that `npm run fuzz` makes for as long as one likes.
import { expect, test } from "vitest";
import { fuzz } from "./run.js";

test("random calls of every operation run, or are refused with the right code", () => {
  const { ran, refused, findings } = fuzz([]);
  expect(findings).toBe(0);
  expect(ran).toBeGreaterThan(100);
  expect(refused).toBeGreaterThan(100);
});
