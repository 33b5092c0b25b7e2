import { describe, expect, test } from "vitest";
import { SampleClock, stagesOf, type TurnTimes, totalOf } from "../../page/latency.js";

describe("the clock of the samples", () => {
  test("goes by the chunks that came soonest", () => {
    const clock = new SampleClock(1000);
    expect(clock.timeOf(0)).toBeUndefined();
    for (const [i, delay] of [9, 3, 250, 40, 5].entries()) clock.heard(100, 5000 + 100 * (i + 1) + delay);
    expect(clock.timeOf(0)).toBe(5003);
    expect(clock.timeOf(420)).toBe(5423);
  });

  test("follows a microphone that is a little slow", () => {
    const clock = new SampleClock(1000);
    for (let i = 1; i <= 1000; i++) clock.heard(100, 100.1 * i);
    expect(clock.timeOf(100_000)).toBeGreaterThan(100_090);
  });

  test("knows nothing of silence that was not recorded, and begins again with the next microphone", () => {
    const clock = new SampleClock(1000);
    clock.heard(100, 1100);
    clock.skip(400);
    expect(clock.timeOf(50)).toBeUndefined();
    clock.heard(100, 9107); // samples 500 to 600
    expect(clock.timeOf(550)).toBe(9057);
  });
});

describe("the stages of a turn", () => {
  const whole: TurnTimes = { speechEnd: 1000.4, confirmed: 1500, created: 1502, received: 1530, audible: 1612.2 };

  test("add up to the time from the end of speech to the first sound", () => {
    const stages = stagesOf(whole);
    expect(stages.map(({ key, milliseconds }) => [key, milliseconds])).toEqual([
      ["confirmed", 500],
      ["created", 2],
      ["received", 28],
      ["audible", 82],
    ]);
    expect(totalOf(stages)).toBe(612);
  });

  test("end where the turn has come to", () => {
    expect(stagesOf({ ...whole, audible: undefined }).map(({ key }) => key)).toEqual([
      "confirmed",
      "created",
      "received",
    ]);
    expect(stagesOf({ speechEnd: 5 })).toEqual([]);
    expect(totalOf([])).toBe(0);
  });

  test("are never shorter than nothing, though two clocks disagree by a little", () => {
    const stages = stagesOf({ ...whole, audible: 1529 });
    expect(stages.map(({ milliseconds }) => milliseconds)).toEqual([500, 2, 28, 0]);
    expect(totalOf(stages)).toBe(530);
  });
});
