import { expect, test } from "vitest";
import { atOnce, type Steps, Turns } from "../lib/turns.js";
import { turnsDuring } from "./support/turns.js";

function* counted(seen: unknown[], count: number): Steps<string> {
  for (let i = 0; i < count; i++) {
    seen.push(i);
    yield;
  }
  return "done";
}

test("work in steps gives way to other events, and ends with its result", async () => {
  const seen: unknown[] = [];
  let ticks = 0;
  const timer = setImmediate(function tick() {
    seen.push(`tick ${ticks++}`);
    if (ticks < 3) setImmediate(tick);
  });
  expect(await turnsDuring(async () => expect(await new Turns("x").during(counted(seen, 3))).toBe("done"))).toBe(3);
  clearImmediate(timer);
  expect(seen).toEqual([0, "tick 0", 1, "tick 1", 2, "tick 2"]);
});

test("work at once has the same result", () => {
  const seen: unknown[] = [];
  expect(atOnce(counted(seen, 3))).toBe("done");
  expect(seen).toEqual([0, 1, 2]);
});

test("an abort ends the work before its first step, or between two", async () => {
  const aborted = (details: object) => expect.objectContaining({ code: "ABORTED", ...details });
  const seen: unknown[] = [];
  const early = new Turns("counting", AbortSignal.abort("enough")).during(counted(seen, 3));
  await expect(early).rejects.toThrow(aborted({ message: "counting was aborted", cause: "enough" }));
  expect(seen).toEqual([]);
  const controller = new AbortController();
  setImmediate(() => controller.abort());
  const turns = async () => new Turns("counting", controller.signal).during(counted(seen, 1000));
  await turnsDuring(() => expect(turns()).rejects.toThrow(aborted({})));
  expect(seen.length).toBeLessThan(1000);
});
