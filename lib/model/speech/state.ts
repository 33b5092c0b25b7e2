import { reservedSpeechIds } from "../../checkpoint/layout.js";
import { CaracalError, shown } from "../../errors.js";
import {
  checkedIntegers,
  checkedList,
  checkObject,
  checkOption,
  checkOptions,
  isObject,
  type OptionRule,
  oneOf,
  optional,
  positiveInteger,
  wholeNumber,
} from "../../options.js";

/** Codec books of one speech frame: one semantic book, then three acoustic books. */
export const codecBooks = 4;
/** The codes of one frame: one semantic code, then the acoustic codes. */
export type SpeechFrame = readonly number[];
/** The semantic id that ends a stretch of speech. */
export const semanticEndId = 2;
/** The codec id that contributes nothing to an embedding. */
export const codecPadId = 3;
/** Means "no id": contributes nothing to the next embedding and is ignored in the penalty history. */
export const maskedId = -1;

/**
 * `textAndSpeech`: every step yields a text id and a speech frame. `speech`: the segment's text is complete (text ids
 * are ignored) and speech continues until the semantic end id. `done`: nothing follows.
 */
export type SpeechPhase = "textAndSpeech" | "speech" | "done";

/**
 * The next input of the language model: the embedding of `textId`, if any, plus the sum over books of the embeddings
 * of the codec ids ≥ 0.
 */
export interface SpeechInput {
  /** null: no text embedding. */
  readonly textId: number | null;
  /** Four ids; `maskedId` (−1) contributes nothing. */
  readonly codecIds: readonly number[];
}

/** What one step adds to a reply. */
export interface SpeechStep {
  /** The text id that this step adds to the reply, `</pause>` and end of text included; null in phase `speech`. */
  readonly textId: number | null;
  /** The previous step's frame, now complete: four codec codes (id − 32), or null if that step had no frame. */
  readonly frame: readonly number[] | null;
  /** The phase after this step. */
  readonly phase: SpeechPhase;
  /** null when done. */
  readonly next: SpeechInput | null;
}

/** A plain copy of a `SpeechState`, which survives JSON and structured clone. */
export interface SpeechSnapshot {
  readonly phase: SpeechPhase;
  readonly segmentStep: number;
  readonly final: boolean;
  readonly pendingSemantic: number | null;
  readonly textHistory: readonly number[];
  readonly codecHistory: readonly (readonly number[])[];
}

/** The ids and limits by which text and speech take turns. */
export interface SpeechStateOptions {
  /** The id that ends a segment's text: `</pause>`. */
  readonly pauseId: number;
  /** The id that ends the reply's text: `</longcat_s>`. */
  readonly endId: number;
  /** Steps of history kept for the repetition penalty. Default 30. */
  readonly historySteps?: number;
}
const speechStateOptions = {
  pauseId: wholeNumber,
  endId: wholeNumber,
  historySteps: optional(positiveInteger),
} satisfies Record<keyof SpeechStateOptions, OptionRule>;

/**
 * The state machine that turns sampled ids into text, speech frames and the next model input. The acoustic ids of a
 * frame are sampled one step after its semantic id (acoustic delay), so a step completes the frame of the previous one.
 *
 * As in the serving code published for LongCat-Flash-Omni ("chat" mode), including its odd cases:
 * - the id that ends a segment's text is itself the text input of the following step;
 * - the first step of a segment has no previous frame, so its acoustic ids are masked, except when its text id ends
 *   the segment at once;
 * - a semantic end id during `textAndSpeech` does not change the phase; its frame is dropped.
 */
export class SpeechState {
  readonly #pauseId: number;
  readonly #endId: number;
  readonly #historySteps: number;
  #phase: SpeechPhase = "textAndSpeech";
  #segmentStep = 0;
  #final = false;
  #pendingSemantic: number | null = null;
  #textHistory: number[] = [];
  #codecHistory: (readonly number[])[] = [];

  /** @throws {CaracalError} `INVALID_ARGUMENT` when an option is unknown or out of range */
  constructor(options: SpeechStateOptions) {
    checkOptions("SpeechState", options, speechStateOptions);
    this.#pauseId = options.pauseId;
    this.#endId = options.endId;
    this.#historySteps = options.historySteps ?? 30;
  }

  /** What the next step yields: text, speech, or both. */
  get phase(): SpeechPhase {
    return this.#phase;
  }

  /** Whether the reply has ended. */
  get done(): boolean {
    return this.#phase === "done";
  }

  /** The last text ids, oldest first, for the repetition penalty; `maskedId` for steps without text. */
  get textHistory(): readonly number[] {
    return this.#textHistory;
  }

  /** The last ids of one book, oldest first, for the repetition penalty; masked ids as `maskedId`. */
  codecHistory(book: number): number[] {
    checkOption("SpeechState.codecHistory", "book", book, bookRule);
    return this.#codecHistory.map((ids) => ids[book]!);
  }

  /**
   * Advances by the ids sampled from one forward pass. `textId` is ignored, and may be null, in phase `speech`.
   *
   * @throws {CaracalError} `INVALID_ARGUMENT` when the reply is done, a text id is missing, or there are not four codec
   *   ids; `INDEX_OUT_OF_RANGE` for an id in the reserved range of its book, which names no codec code
   */
  step(textId: number | null, codecIds: ArrayLike<number>): SpeechStep {
    const phaseBefore = this.#phase;
    if (phaseBefore === "done")
      throw new CaracalError("INVALID_ARGUMENT", "the reply is complete: no further step is possible");
    if (phaseBefore === "textAndSpeech" && !wholeNumber.accepts(textId)) {
      throw new CaracalError("INVALID_ARGUMENT", `a text id is due in phase textAndSpeech, got ${shown(textId)}`);
    }
    const given = checkedCodecIds(codecIds);
    const text = phaseBefore === "textAndSpeech" ? textId : null;
    this.#advance(text, given[0]!);

    const opensSegment = this.#phase === "textAndSpeech" && this.#segmentStep === 1;
    const ids = given.map((id, book) => (opensSegment && book > 0 ? maskedId : id));
    const frame = this.#completeFrame(ids);
    this.#textHistory = [...this.#textHistory, text ?? maskedId].slice(-this.#historySteps);
    this.#codecHistory = [...this.#codecHistory, ids].slice(-this.#historySteps);
    const next = this.#phase === "done" ? null : { textId: text, codecIds: ids };
    return { textId: text, frame, phase: this.#phase, next };
  }

  #advance(textId: number | null, semanticId: number): void {
    this.#segmentStep++;
    if (this.#phase === "textAndSpeech") {
      if (textId !== this.#pauseId && textId !== this.#endId) return;
      this.#final = textId === this.#endId;
      this.#phase = "speech";
    } else {
      if (semanticId !== semanticEndId) return;
      this.#phase = this.#final ? "done" : "textAndSpeech";
    }
    this.#segmentStep = 0;
  }

  #completeFrame(ids: readonly number[]): number[] | null {
    const semantic = this.#pendingSemantic;
    this.#pendingSemantic = ids[0] === semanticEndId ? null : ids[0]!;
    return semantic === null ? null : [semantic, ...ids.slice(1)].map((id) => id - reservedSpeechIds);
  }

  /** Copies the state, histories included. `restore` rolls a reply back to it when a live session retracts steps. */
  snapshot(): SpeechSnapshot {
    return {
      phase: this.#phase,
      segmentStep: this.#segmentStep,
      final: this.#final,
      pendingSemantic: this.#pendingSemantic,
      textHistory: this.#textHistory,
      codecHistory: this.#codecHistory,
    };
  }

  /** Returns to the state of a snapshot. @throws {CaracalError} `INVALID_ARGUMENT` for what is none */
  restore(snapshot: SpeechSnapshot): void {
    const { phase, segmentStep, final, pendingSemantic, textHistory, codecHistory } = checkedSnapshot(snapshot);
    this.#phase = phase;
    this.#segmentStep = segmentStep;
    this.#final = final;
    this.#pendingSemantic = pendingSemantic;
    this.#textHistory = [...textHistory];
    this.#codecHistory = [...codecHistory];
  }
}

const snapshotFields = {
  phase: oneOf("textAndSpeech", "speech", "done"),
  segmentStep: wholeNumber,
  final: oneOf(true, false),
  pendingSemantic: {
    accepts: (value) => value === null || wholeNumber.accepts(value),
    expected: "a whole number from 0, or null",
  },
  textHistory: true,
  codecHistory: true,
} satisfies Record<keyof SpeechSnapshot, OptionRule | true>;

/** More frames than any utterance has: two hours. */
export const maxFrames = 2 ** 17;

/** Returns a copy of the snapshot. @throws {CaracalError} `INVALID_ARGUMENT` */
function checkedSnapshot(snapshot: SpeechSnapshot): SpeechSnapshot {
  const where = "SpeechState.restore";
  checkObject(where, "the snapshot", snapshot);
  checkOptions(where, snapshot, snapshotFields);
  const codecHistory = checkedList(where, "codecHistory", snapshot.codecHistory, "a list of frames", maxFrames);
  return {
    ...snapshot,
    textHistory: [...checkedIntegers(where, "textHistory", snapshot.textHistory)],
    codecHistory: codecHistory.map((ids, i) => [...checkedIntegers(where, `codecHistory[${i}]`, ids, codecBooks)]),
  };
}

const bookRule: OptionRule = {
  accepts: (value) => wholeNumber.accepts(value) && (value as number) < codecBooks,
  expected: `a book in [0, ${codecBooks})`,
};

/** Returns a copy of the ids. @throws {CaracalError} `INVALID_ARGUMENT`, `INDEX_OUT_OF_RANGE` */
function checkedCodecIds(ids: ArrayLike<number>): number[] {
  if (!isObject(ids) || ids.length !== codecBooks) {
    throw new CaracalError("INVALID_ARGUMENT", `expected ${codecBooks} codec ids, got ${shown(ids)}`);
  }
  return Array.from({ length: codecBooks }, (_, book) => {
    const id = ids[book]!;
    if (Number.isInteger(id) && (id >= reservedSpeechIds || (book === 0 && id === semanticEndId))) return id;
    throw new CaracalError(
      "INDEX_OUT_OF_RANGE",
      `codec id ${shown(id)} of book ${book} is reserved; mask the logits below ${reservedSpeechIds} before sampling`,
      { book, id },
    );
  });
}
