import { checkedObjects, checkOption, type OptionRule, oneOf, wholeNumber } from "../options.js";
import { TurnDetector, type TurnDetectorOptions, type TurnEvent } from "./turnDetector.js";
import type { VoiceActivityDetector, VoiceActivityStream } from "./voiceActivity.js";

/** Finds the turns of one speaker. */
export interface VoiceDetector extends Disposable {
  /**
   * @param samples the next ones, mono, in [−1, 1], at the rate that the session takes
   * @returns what they decide, in order: as `TurnDetector` does. A turn is answered as it was at its last `speculativeEnd`
   */
  push(samples: Float32Array): Promise<readonly TurnEvent[]>;
}

/** The detector of a session that was given none. */
export class SpeechTurns implements VoiceDetector {
  readonly #activity: VoiceActivityStream;
  readonly #turns: TurnDetector;
  readonly #first: number;

  /** @param first the session's number of the first sample that is pushed */
  constructor(detector: VoiceActivityDetector, options: TurnDetectorOptions, first: number) {
    this.#activity = detector.stream();
    this.#turns = new TurnDetector(options);
    this.#first = first;
  }

  async push(samples: Float32Array): Promise<TurnEvent[]> {
    const events = this.#turns.push(await this.#activity.push(samples));
    return events.map((event) => later(event, this.#first));
  }

  [Symbol.dispose](): void {} // the network belongs to the model
}

/** An event that happens so many samples later. */
function later(event: TurnEvent, samples: number): TurnEvent {
  const position = event.position + samples;
  if (event.type === "speechStarted") return { ...event, position, start: event.start + samples };
  return "end" in event ? { ...event, position, end: event.end + samples } : { ...event, position };
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
export function checkedEvents(events: readonly TurnEvent[], heard: number): TurnEvent[] {
  const where = "LiveSession: detector.push";
  const sample: OptionRule = {
    accepts: (value) => wholeNumber.accepts(value) && (value as number) <= heard,
    expected: `a sample up to ${heard}`,
  };
  return checkedObjects(where, "the result", events, "{ type, position }").map((event, i) => {
    const copy = { ...event };
    checkOption(
      where,
      `[${i}].type`,
      copy.type,
      oneOf("speechStarted", "speculativeEnd", "speechResumed", "speechEnded"),
    );
    checkOption(where, `[${i}].position`, copy.position, sample);
    if (copy.type === "speechStarted") checkOption(where, `[${i}].start`, copy.start, sample);
    return copy;
  });
}
