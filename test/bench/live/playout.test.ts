import { expect, test } from "vitest";
import { Playout } from "../../../bench/live/playout.js";

test("what arrives in time plays without a gap, after the buffer", () => {
  const playout = new Playout(0.1);
  playout.begin();
  playout.receive(5, 0.06);
  expect(playout.start).toBe(5.1);
  playout.receive(5.02, 0.06);
  playout.receive(5.22, 0.06); // the moment at which it is due
  expect(playout.end).toBeCloseTo(5.28, 12);
  expect([playout.underruns, playout.missing]).toEqual([0, 0]);
});

test("a late piece is a gap, after which everything plays later", () => {
  const playout = new Playout(0);
  playout.begin();
  playout.receive(1, 0.5);
  playout.receive(1.75, 0.5);
  expect([playout.underruns, playout.missing]).toEqual([1, 0.25]);
  expect(playout.end).toBe(2.25);
  playout.receive(2.25, 0.5);
  expect(playout.underruns).toBe(1);
});

test("the next reply begins anew, and the gaps of all are counted", () => {
  const playout = new Playout(0.25);
  for (const begin of [10, 20]) {
    playout.begin();
    playout.receive(begin, 0.5);
    expect(playout.start).toBe(begin + 0.25);
    playout.receive(begin + 1, 0.5);
  }
  expect([playout.underruns, playout.missing]).toEqual([2, 0.5]);
});
