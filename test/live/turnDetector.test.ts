import { describe, expect, it } from "vitest";
import { TurnDetector, type TurnDetectorOptions, type TurnEvent } from "../../lib/live/turnDetector.js";

/** Chunks of speech, of neither, of silence: `[3, "speech"]` … */
const level = { speech: 0.9, between: 0.4, silence: 0.1 };
type Stretch = readonly [chunks: number, kind: keyof typeof level];
const heard = (...stretches: readonly Stretch[]) =>
  Float32Array.from(stretches.flatMap(([chunks, kind]) => Array.from({ length: chunks }, () => level[kind])));
const eventsOf = (options: TurnDetectorOptions, ...stretches: readonly Stretch[]) =>
  new TurnDetector(options).push(heard(...stretches));
const chunk = 512;

describe("TurnDetector", () => {
  it("finds a turn: its beginning with 300 ms before it, its end perhaps after 250 ms, and for sure after 600 ms", () => {
    expect(eventsOf({}, [20, "silence"], [10, "speech"], [30, "silence"])).toEqual([
      { type: "speechStarted", start: 20 * chunk - 4800, position: 22 * chunk }, // 50 ms take two chunks
      { type: "speculativeEnd", end: 30 * chunk, position: 38 * chunk }, // 4000 samples take eight
      { type: "speechEnded", end: 30 * chunk, position: 49 * chunk }, // 9600 samples take nineteen
    ]);
  });

  it("counts every duration in samples, to the chunk", () => {
    const exactly = { minSpeechMs: 96, prefixPaddingMs: 32, speculativeSilenceMs: 64, silenceDurationMs: 128 };
    expect(eventsOf(exactly, [4, "silence"], [3, "speech"], [4, "silence"])).toEqual([
      { type: "speechStarted", start: 3 * chunk, position: 7 * chunk },
      { type: "speculativeEnd", end: 7 * chunk, position: 9 * chunk },
      { type: "speechEnded", end: 7 * chunk, position: 11 * chunk },
    ]);
    const more = { minSpeechMs: 96.1, prefixPaddingMs: 33, speculativeSilenceMs: 64.1, silenceDurationMs: 128.1 };
    expect(eventsOf(more, [4, "silence"], [4, "speech"], [5, "silence"])).toEqual([
      { type: "speechStarted", start: 3 * chunk - 16, position: 8 * chunk },
      { type: "speculativeEnd", end: 8 * chunk, position: 11 * chunk },
      { type: "speechEnded", end: 8 * chunk, position: 13 * chunk },
    ]);
    const none = { minSpeechMs: 0, prefixPaddingMs: 0, speculativeSilenceMs: 0, silenceDurationMs: 0 };
    expect(eventsOf(none, [1, "speech"], [1, "silence"])).toEqual([
      { type: "speechStarted", start: 0, position: chunk },
      { type: "speculativeEnd", end: chunk, position: 2 * chunk },
      { type: "speechEnded", end: chunk, position: 2 * chunk },
    ]);
  });

  it("goes on when speech does, and counts the next silence from its own beginning", () => {
    const events = eventsOf({}, [3, "speech"], [10, "silence"], [1, "speech"], [18, "silence"], [1, "silence"]);
    expect(events).toEqual([
      { type: "speechStarted", start: 0, position: 2 * chunk },
      { type: "speculativeEnd", end: 3 * chunk, position: 11 * chunk },
      { type: "speechResumed", position: 14 * chunk },
      { type: "speculativeEnd", end: 14 * chunk, position: 22 * chunk },
      { type: "speechEnded", end: 14 * chunk, position: 33 * chunk },
    ]);
  });

  it("says nothing of a pause that is shorter than the speculative silence", () => {
    expect(eventsOf({}, [3, "speech"], [7, "silence"], [3, "speech"]).map(({ type }) => type)).toEqual([
      "speechStarted",
    ]);
  });

  it("lets chunks between the thresholds change nothing", () => {
    expect(eventsOf({}, [40, "between"])).toEqual([]);
    expect(eventsOf({}, [2, "speech"], [40, "between"]).map(({ type }) => type)).toEqual(["speechStarted"]);
    // In a silence the time of such chunks counts, but the turn ends in a silent chunk.
    const events = eventsOf({}, [2, "speech"], [1, "silence"], [30, "between"], [1, "silence"]);
    expect(events.slice(1)).toEqual([
      { type: "speculativeEnd", end: 2 * chunk, position: 34 * chunk },
      { type: "speechEnded", end: 2 * chunk, position: 34 * chunk },
    ]);
  });

  it("ignores noises that are shorter than the least speech", () => {
    expect(eventsOf({}, [1, "speech"], [1, "silence"], [1, "speech"], [1, "silence"])).toEqual([]);
    const events = eventsOf({}, [1, "speech"], [20, "silence"], [2, "speech"]);
    expect(events).toEqual([{ type: "speechStarted", start: 21 * chunk - 4800, position: 23 * chunk }]);
  });

  it("gives no sound to two turns", () => {
    const events = eventsOf({}, [3, "speech"], [22, "silence"], [2, "speech"]);
    expect(events[2]).toEqual({ type: "speechEnded", end: 3 * chunk, position: 22 * chunk });
    expect(events[3]).toEqual({ type: "speechStarted", start: 22 * chunk, position: 27 * chunk });
  });

  it("takes its thresholds from the options", () => {
    const types = (options: TurnDetectorOptions, probability: number, before: readonly number[] = []) =>
      new TurnDetector({ minSpeechMs: 0, speculativeSilenceMs: 0, silenceDurationMs: 0, ...options })
        .push(Float32Array.of(...before, probability))
        .map(({ type }) => type);
    expect(types({ threshold: 0.75 }, 0.74)).toEqual([]);
    expect(types({ threshold: 0.75 }, 0.75)).toEqual(["speechStarted"]);
    expect(types({ threshold: 0.75 }, 0.61, [1])).toEqual(["speechStarted"]);
    expect(types({ threshold: 0.75 }, 0.59, [1])).toEqual(["speechStarted", "speculativeEnd", "speechEnded"]);
    expect(types({ negativeThreshold: 0.125 }, 0.125, [1])).toEqual(["speechStarted"]);
    expect(types({ negativeThreshold: 0.125 }, 0.12, [1])).toEqual(["speechStarted", "speculativeEnd", "speechEnded"]);
  });

  it("gives the same events however the probabilities are split, and after a snapshot", () => {
    const probabilities = heard(
      [5, "silence"],
      [4, "speech"],
      [9, "silence"],
      [2, "speech"],
      [3, "between"],
      [25, "silence"],
      [1, "speech"],
      [4, "silence"],
      [6, "speech"],
      [8, "silence"],
    );
    const whole = new TurnDetector().push(probabilities);
    expect(whole.length).toBe(7);
    const split = new TurnDetector();
    const joined: TurnEvent[] = [];
    const snapshots = Array.from(probabilities, (one) => {
      const before = JSON.stringify(split.snapshot());
      joined.push(...split.push(Float32Array.of(one)));
      return before;
    });
    expect(joined).toEqual(whole);
    snapshots.forEach((snapshot, i) => {
      const restored = new TurnDetector();
      restored.restore(JSON.parse(snapshot));
      expect(restored.position).toBe(i * chunk);
      expect(restored.push(probabilities.subarray(i))).toEqual(whole.filter(({ position }) => position > i * chunk));
    });
  });

  it("returns from another turn to its snapshot", () => {
    const turns = new TurnDetector();
    turns.push(heard([3, "speech"], [9, "silence"]));
    const saved = turns.snapshot();
    expect([turns.position, turns.speaking]).toEqual([12 * chunk, true]);
    turns.push(heard([20, "silence"]));
    expect([turns.position, turns.speaking]).toEqual([32 * chunk, false]);
    turns.restore(saved);
    expect(turns.snapshot()).toEqual(saved);
    expect(turns.push(heard([1, "speech"]))).toEqual([{ type: "speechResumed", position: 13 * chunk }]);
  });

  it("refuses what does not fit", () => {
    const refused = (options: TurnDetectorOptions, message: string) => {
      expect(() => new TurnDetector(options)).toThrow(message);
    };
    refused({ threshold: 1.5 }, "threshold must be a number from 0 to 1");
    refused({ negativeThreshold: 0.6 }, "negativeThreshold must be at most threshold, 0.5");
    refused({ speculativeSilenceMs: 700 }, "speculativeSilenceMs must be at most silenceDurationMs, 600");
    refused({ silenceDurationMs: Number.NaN }, "silenceDurationMs must be milliseconds");
    refused({ silenceDuration: 5 } as TurnDetectorOptions, 'did you mean "silenceDurationMs"?');
    const turns = new TurnDetector({ silenceDurationMs: 100 }); // which the speculative silence follows
    expect(() => turns.restore({ ...turns.snapshot(), silenceStart: -1 })).toThrow(
      "silenceStart must be a whole number",
    );
    expect(() => turns.push([0.5] as never)).toThrow("probabilities must be a Float32Array");
  });
});
