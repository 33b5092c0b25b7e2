import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { Places } from "../../lib/media/places.js";

test("so many take a place, the others wait in their order, and who is aborted leaves the queue", async () => {
  const places = new Places(() => 2);
  const controller = new AbortController();
  const taken: string[] = [];
  const take = (name: string, signal?: AbortSignal) => places.take(signal, "work").then(() => taken.push(name));
  const calls = ["a", "b", "c"].map((name) => take(name));
  const aborted = take("d", controller.signal);
  calls.push(take("e"));
  await setImmediate();
  expect(taken).toEqual(["a", "b"]);
  controller.abort("enough");
  await expect(aborted).rejects.toMatchObject({ code: "ABORTED", cause: "enough" });
  places.leave();
  places.leave();
  await Promise.all(calls);
  expect(taken).toEqual(["a", "b", "c", "e"]);
  const late = take("f");
  await setImmediate();
  expect(taken).not.toContain("f");
  places.leave();
  await late;
});
