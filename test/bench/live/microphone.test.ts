import { expect, test } from "vitest";
import { everyPacket, packetSeconds } from "../../../bench/live/microphone.js";

test("packets are due at even times from the beginning, however late they are", async () => {
  const tick = packetSeconds / 4;
  let time = 100;
  const now = () => {
    time += tick; // at each look
    return time;
  };
  const due: number[] = [];
  const worst = await everyPacket(now, (at) => {
    due.push(at);
    if (due.length === 2) time = at + 3.5 * packetSeconds; // the work for the second packet takes long
    return due.length < 6;
  });
  expect(due.map((at) => Math.round((at - 100 - tick) / packetSeconds))).toEqual([1, 2, 3, 4, 5, 6]);
  expect(worst).toBeGreaterThanOrEqual(2.5 * packetSeconds);
  expect(worst).toBeLessThan(3.5 * packetSeconds);
});
