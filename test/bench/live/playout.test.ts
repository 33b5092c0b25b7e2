import { expect, test } from "vitest";
import { Playout } from "../../../bench/live/playout.js";

test("what arrives in time plays without a gap, after the buffer", () => {
  const playout = new Playout(0.125);
  playout.begin();
  playout.receive(5, 0.0625);
  expect(playout.start).toBe(5.125);
  playout.receive(5.03125, 0.0625);
  playout.receive(5.25, 0.0625); // the moment at which it is due
  expect(playout.playing(9)).toEqual([[5.125, 5.3125]]);
  expect([playout.underruns, playout.missing]).toEqual([0, 0]);
});

test("a late piece is a gap, after which everything plays later", () => {
  const playout = new Playout(0);
  playout.begin();
  playout.receive(1, 0.5);
  playout.receive(1.75, 0.5);
  expect([playout.underruns, playout.missing]).toEqual([1, 0.25]);
  expect(playout.end).toBe(2.25);
  expect(playout.playing(2)).toEqual([
    [1, 1.5],
    [1.75, 2],
  ]);
  expect(playout.playing(1.6)).toEqual([[1, 1.5]]);
  playout.receive(2.25, 0.5);
  expect(playout.underruns).toBe(1);
});

test("before the first piece nothing plays", () => {
  const playout = new Playout(0.1);
  playout.begin();
  expect([playout.start, playout.end, playout.playing(9)]).toEqual([0, 0, []]);
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
