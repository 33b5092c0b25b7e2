import { expect, test } from "vitest";
import { logProbabilitySteps } from "../../../lib/model/reply/logProbabilities.js";
import { atOnce } from "../../../lib/turns.js";

const of = (logits: readonly number[], id: number, count: number) =>
  atOnce(logProbabilitySteps(Float32Array.from(logits), id, count));

test("are those of softmax, likeliest first, and of equal ones the lowest id first", () => {
  const logits = [1, 3, 0, 3, 2];
  const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
  const { id, logProbability, top } = of(logits, 2, 4);
  expect(id).toBe(2);
  expect(logProbability).toBeCloseTo(Math.log(1 / sum), 12);
  expect(top.map((token) => token.id)).toEqual([1, 3, 4, 0]);
  expect(top[2]!.logProbability).toBeCloseTo(Math.log(Math.exp(2) / sum), 12);
  expect(of(logits, 0, 0).top).toEqual([]);
  expect(of(logits, 0, 20).top).toHaveLength(5);
});

test("of large logits do not overflow, and NaN has no probability", () => {
  const { logProbability, top } = of([3e38, Number.NaN, -3e38, 3e38], 1, 4);
  expect(logProbability).toBe(Number.NEGATIVE_INFINITY);
  expect(top.map(({ id }) => id)).toEqual([0, 3, 2]);
  expect(top[0]!.logProbability).toBeCloseTo(-Math.LN2, 12);
});

test("a large vocabulary is done in steps, and its likeliest tokens are those of a sort", () => {
  const logits = Float32Array.from({ length: 200_000 }, (_, i) => Math.sin(i * i));
  const steps = [...logProbabilitySteps(logits, 5, 20)];
  expect(steps.length).toBe(6);
  const sorted = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b);
  expect(of([...logits], 5, 20).top.map(({ id }) => id)).toEqual(sorted.slice(0, 20));
});
