import { checkedObjects, checkOption, type OptionRule, oneOf, wholeNumber } from "../options.js";

/** What a detector of voice activity found at a sample, counted from the session's first one. */
export interface VoiceEvent {
  /**
   * `start`: the user speaks, from this sample on. `pause`: nothing was said for a while, and a reply may be prepared.
   * `resume`: it was only a pause. `end`: the turn has ended where it paused.
   */
  readonly type: "start" | "pause" | "resume" | "end";
  readonly sample: number;
}

/** Finds the turns of one speaker, in samples as the audio encoder takes them. */
export interface VoiceDetector extends Disposable {
  /** @returns what these samples decide, in order; a sample before them is where something began */
  push(samples: Float32Array): Promise<readonly VoiceEvent[]>;
}

/** @internal */
export const detectorRule: OptionRule = {
  accepts: (value) => {
    const { push, [Symbol.dispose]: dispose } = Object(value) as Partial<VoiceDetector>;
    return typeof push === "function" && typeof dispose === "function";
  },
  expected: "a detector of voice activity, with push and [Symbol.dispose]",
};

/** Returns a copy of what a detector gave. @throws {CaracalError} `INVALID_ARGUMENT` */
export function checkedEvents(events: readonly VoiceEvent[], end: number): VoiceEvent[] {
  const where = "LiveSession: detector.push";
  return checkedObjects(where, "the result", events, "{ type, sample }").map(({ type, sample }, i) => {
    checkOption(where, `[${i}].type`, type, oneOf("start", "pause", "resume", "end"));
    checkOption(where, `[${i}].sample`, sample, {
      accepts: (value) => wholeNumber.accepts(value) && (value as number) <= end,
      expected: `a sample up to ${end}`,
    });
    return { type, sample };
  });
}
