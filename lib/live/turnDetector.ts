import {
  checkedFloats,
  checkObject,
  checkOptions,
  type OptionRule,
  oneOf,
  optional,
  refuseValue,
  wholeNumber,
} from "../options.js";
import { chunkSamples } from "./sileroWeights.js";

/** When a turn of speech begins and ends. Durations are rounded up to chunks of 32 ms. */
export interface TurnDetectorOptions {
  /** The probability from which a chunk is speech. Default 0.5. */
  readonly threshold?: number | undefined;
  /** The probability below which a chunk ends speech; between the two, nothing changes. Default `threshold` − 0.15. */
  readonly negativeThreshold?: number | undefined;
  /** Milliseconds of speech before it counts: shorter noises begin no turn. Default 50. */
  readonly minSpeechMs?: number | undefined;
  /** Milliseconds before the first chunk of speech that belong to the turn. Default 300. */
  readonly prefixPaddingMs?: number | undefined;
  /** Milliseconds of silence after which the turn has ended, perhaps. Default 250, at most `silenceDurationMs`. */
  readonly speculativeSilenceMs?: number | undefined;
  /** Milliseconds of silence after which the turn has ended. Default 600. */
  readonly silenceDurationMs?: number | undefined;
}

const probability: OptionRule = {
  accepts: (value) => typeof value === "number" && value >= 0 && value <= 1,
  expected: "a number from 0 to 1",
};
const milliseconds: OptionRule = {
  accepts: (value) => typeof value === "number" && value >= 0 && value <= 3_600_000,
  expected: "milliseconds from 0 to an hour",
};
const turnDetectorOptions = {
  threshold: optional(probability),
  negativeThreshold: optional(probability),
  minSpeechMs: optional(milliseconds),
  prefixPaddingMs: optional(milliseconds),
  speculativeSilenceMs: optional(milliseconds),
  silenceDurationMs: optional(milliseconds),
} satisfies Record<keyof TurnDetectorOptions, OptionRule>;

/** What a `TurnDetector` found. All times are counted in samples from the beginning of the stream. */
export type TurnEvent =
  /** Speech counts. The turn's sound begins at `start`, which includes the prefix but nothing of an earlier turn. */
  | { readonly type: "speechStarted"; readonly position: number; readonly start: number }
  /** It has been silent since `end` for so long that the turn has probably ended. */
  | { readonly type: "speculativeEnd"; readonly position: number; readonly end: number }
  /** Speech went on after a `speculativeEnd`: the turn has not ended. */
  | { readonly type: "speechResumed"; readonly position: number }
  /** The turn has ended: it has been silent since `end`. */
  | { readonly type: "speechEnded"; readonly position: number; readonly end: number };

/** A plain copy of a `TurnDetector`, which survives JSON and structured clone. */
export interface TurnSnapshot {
  /** Samples that were heard. */
  readonly position: number;
  /** The end of the last turn's sound, which no prefix reaches. */
  readonly previousEnd: number;
  /** The first sample of speech, without the prefix, whether it counts yet or not; null without speech. */
  readonly speechStart: number | null;
  /** Whether the speech counts: `speechStarted` was given. */
  readonly speaking: boolean;
  /** The first sample of the present silence within a turn. */
  readonly silenceStart: number | null;
  /** Whether a `speculativeEnd` was given for it. */
  readonly speculative: boolean;
}

const samplesPerMillisecond = 16;

/**
 * Finds the turns of a speaker in the probabilities of a `VoiceActivityStream`, with the hysteresis of Silero's
 * `VADIterator`: a chunk of at least `threshold` is speech, and only one below `negativeThreshold` begins a silence. It has
 * no clock: time passes by 512 samples at 16 kHz with each probability.
 *
 * In a turn, `speechStarted` comes first. A silence gives `speculativeEnd`, from which a reply may be prepared, then
 * `speechResumed` if speech goes on, or `speechEnded`.
 */
export class TurnDetector {
  readonly #threshold: number;
  readonly #negativeThreshold: number;
  readonly #minSpeech: number;
  readonly #prefix: number;
  readonly #speculativeSilence: number;
  readonly #silence: number;
  #state: TurnSnapshot = {
    position: 0,
    previousEnd: 0,
    speechStart: null,
    speaking: false,
    silenceStart: null,
    speculative: false,
  };

  /**
   * @throws {CaracalError} `INVALID_ARGUMENT` when an option is unknown or out of range, `negativeThreshold` is above
   *   `threshold`, or `speculativeSilenceMs` above `silenceDurationMs`
   */
  constructor(options: TurnDetectorOptions = {}) {
    checkOptions("TurnDetector", options, turnDetectorOptions);
    const { threshold = 0.5, minSpeechMs = 50, prefixPaddingMs = 300, silenceDurationMs = 600 } = options;
    const { negativeThreshold = Math.max(0, threshold - 0.15) } = options;
    const { speculativeSilenceMs = Math.min(250, silenceDurationMs) } = options;
    if (negativeThreshold > threshold)
      refuseValue("TurnDetector", "negativeThreshold", `at most threshold, ${threshold}`, negativeThreshold);
    if (speculativeSilenceMs > silenceDurationMs) {
      const expected = `at most silenceDurationMs, ${silenceDurationMs}`;
      refuseValue("TurnDetector", "speculativeSilenceMs", expected, speculativeSilenceMs);
    }
    this.#threshold = threshold;
    this.#negativeThreshold = negativeThreshold;
    this.#minSpeech = minSpeechMs * samplesPerMillisecond;
    this.#prefix = Math.round(prefixPaddingMs * samplesPerMillisecond);
    this.#speculativeSilence = speculativeSilenceMs * samplesPerMillisecond;
    this.#silence = silenceDurationMs * samplesPerMillisecond;
  }

  /** Samples that were heard. */
  get position(): number {
    return this.#state.position;
  }

  /** Whether a turn is open: `speechStarted` was given, and `speechEnded` not yet. */
  get speaking(): boolean {
    return this.#state.speaking;
  }

  /**
   * Hears the next chunks.
   * @param probabilities of speech, one for each chunk of 512 samples
   * @returns what happened, in order
   * @throws {CaracalError} `INVALID_ARGUMENT` for what is no Float32Array
   */
  push(probabilities: Float32Array): TurnEvent[] {
    const values = checkedFloats(
      "TurnDetector.push",
      "probabilities",
      probabilities,
      "a Float32Array of probabilities",
    );
    const events: TurnEvent[] = [];
    for (const value of values) this.#hear(value, events);
    return events;
  }

  /** Copies the state. `restore` returns to it when a live session takes steps back. */
  snapshot(): TurnSnapshot {
    return { ...this.#state };
  }

  /** Returns to the state of a snapshot. @throws {CaracalError} `INVALID_ARGUMENT` for what is none */
  restore(snapshot: TurnSnapshot): void {
    checkObject("TurnDetector.restore", "the snapshot", snapshot);
    checkOptions("TurnDetector.restore", snapshot, snapshotFields);
    this.#state = { ...snapshot };
  }

  #hear(probability: number, events: TurnEvent[]): void {
    const before = this.#state;
    const position = before.position + chunkSamples;
    this.#state = { ...before, position };
    if (probability >= this.#threshold) this.#hearSpeech(before.position, events);
    else if (probability < this.#negativeThreshold) this.#hearSilence(before.position, events);
  }

  #hearSpeech(chunkStart: number, events: TurnEvent[]): void {
    const { position, previousEnd, speaking, speculative } = this.#state;
    const speechStart = this.#state.speechStart ?? chunkStart;
    const counts = position - speechStart >= this.#minSpeech;
    this.#state = { ...this.#state, speechStart, speaking: speaking || counts, silenceStart: null, speculative: false };
    if (speculative) events.push({ type: "speechResumed", position });
    if (!speaking && counts)
      events.push({ type: "speechStarted", position, start: Math.max(previousEnd, speechStart - this.#prefix) });
  }

  #hearSilence(chunkStart: number, events: TurnEvent[]): void {
    const { position, speaking, speculative } = this.#state;
    if (!speaking) {
      this.#state = { ...this.#state, speechStart: null }; // too short to count
      return;
    }
    const end = this.#state.silenceStart ?? chunkStart;
    const isSpeculative = position - end >= this.#speculativeSilence;
    this.#state = { ...this.#state, silenceStart: end, speculative: isSpeculative };
    if (isSpeculative && !speculative) events.push({ type: "speculativeEnd", position, end });
    if (position - end < this.#silence) return;
    events.push({ type: "speechEnded", position, end });
    const idle = { speechStart: null, speaking: false, silenceStart: null, speculative: false };
    this.#state = { ...this.#state, ...idle, previousEnd: position };
  }
}

const wholeNumberOrNull: OptionRule = {
  accepts: (value) => value === null || wholeNumber.accepts(value),
  expected: "a whole number from 0, or null",
};
const snapshotFields = {
  position: wholeNumber,
  previousEnd: wholeNumber,
  speechStart: wholeNumberOrNull,
  speaking: oneOf(true, false),
  silenceStart: wholeNumberOrNull,
  speculative: oneOf(true, false),
} satisfies Record<keyof TurnSnapshot, OptionRule>;
