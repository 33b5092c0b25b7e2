import { expect, test, vi } from "vitest";
import { EventBuffer } from "../../../lib/model/reply/events.js";

const event = (value: number) => ({ done: false, value });
const end = { done: true, value: undefined };

test("events arrive in order, whether pushed before or after the request", async () => {
  const onTake = vi.fn();
  const buffer = new EventBuffer<number>(onTake);
  buffer.push(1);
  buffer.push(2);
  expect(buffer.length).toBe(2);
  const taken = [buffer.next(), buffer.next(), buffer.next(), buffer.next()];
  expect(onTake).toHaveBeenCalledTimes(4);
  buffer.push(3);
  buffer.end();
  buffer.push(4);
  expect(await Promise.all(taken)).toEqual([event(1), event(2), event(3), end]);
  expect(await buffer.next()).toEqual(end);
});

test("an error arrives once, after the buffered events", async () => {
  const buffer = new EventBuffer<number>();
  buffer.push(1);
  buffer.fail(new Error("broken"));
  buffer.fail(new Error("late"));
  expect(await buffer.next()).toEqual(event(1));
  await expect(buffer.next()).rejects.toThrow("broken");
  expect(await buffer.next()).toEqual(end);
});

test("an error rejects the first pending request and ends the others", async () => {
  const buffer = new EventBuffer<number>();
  const [first, second] = [buffer.next(), buffer.next()];
  buffer.fail(new Error("broken"));
  await expect(first).rejects.toThrow("broken");
  expect(await second).toEqual(end);
});

test("close discards the buffered events", async () => {
  const buffer = new EventBuffer<number>();
  buffer.push(1);
  buffer.close();
  expect(buffer.ended).toBe(true);
  expect(await buffer.next()).toEqual(end);
});
