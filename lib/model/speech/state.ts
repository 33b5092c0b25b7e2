import { CaracalError } from "../../errors.js";

/** Codec books of one speech frame: one semantic, then three acoustic. */
export const codecBooks = 4;
/** Ids below this are reserved in every book: an id is a codec code plus this. */
export const codecIdOffset = 32;
/** The semantic id that ends a stretch of speech. */
export const semanticEndId = 2;
/** The codec id that contributes nothing to an embedding. */
export const codecPadId = 3;
/** Stands for "no id": contributes nothing to the next embedding and does not count in the penalty history. */
export const maskedId = -1;

/**
 * `textAndSpeech`: every step yields a text id and a speech frame. `speech`: the text of the segment is complete (its
 * id is ignored) and speech goes on until the semantic end id. `done`: nothing follows.
 */
export type SpeechPhase = "textAndSpeech" | "speech" | "done";

/** What the language model reads next: (text embedding or 0) + the sum over books of the embeddings of ids ≥ 0. */
export interface SpeechInput {
  /** null: no text embedding. */
  readonly textId: number | null;
  /** Four ids; `maskedId` (−1) contributes nothing. */
  readonly codecIds: readonly number[];
}

export interface SpeechStep {
  /** The text id that this step adds to the reply, `</pause>` and end of text included; null while only speaking. */
  readonly textId: number | null;
  /** The previous step's frame, now complete: four codec codes (ids − 32), or null where that step had none. */
  readonly frame: readonly number[] | null;
  /** The phase after this step. */
  readonly phase: SpeechPhase;
  /** null when done. */
  readonly next: SpeechInput | null;
}

/** A plain copy of a `SpeechState`: JSON and structured clone keep it. */
export interface SpeechSnapshot {
  readonly phase: SpeechPhase;
  readonly segmentStep: number;
  readonly final: boolean;
  readonly pendingSemantic: number | null;
  readonly textHistory: readonly number[];
  readonly codecHistory: readonly (readonly number[])[];
}

export interface SpeechStateOptions {
  /** Ends a segment's text: `</pause>`. */
  readonly pauseId: number;
  /** Ends the reply's text: `</longcat_s>`. */
  readonly endId: number;
  /** Steps that the repetition penalty looks back. */
  readonly historySteps?: number;
}

/**
 * The state machine that turns sampled ids into text, speech frames and the next model input. The acoustic ids of a
 * frame come one step after its semantic id (acoustic delay), so a step completes the frame before it.
 *
 * As in the serving code published for LongCat-Flash-Omni ("chat" mode), its odd cases included:
 * - the id that ends a segment's text is itself the text input of the following step;
 * - the first step of a segment has no frame before it, so its acoustic ids are masked, except when its text id ends
 *   the segment at once;
 * - a semantic end id during `textAndSpeech` changes no phase; its frame is dropped.
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

  constructor(options: SpeechStateOptions) {
    this.#pauseId = options.pauseId;
    this.#endId = options.endId;
    this.#historySteps = options.historySteps ?? 30;
  }

  get phase(): SpeechPhase {
    return this.#phase;
  }

  get done(): boolean {
    return this.#phase === "done";
  }

  /** The last text ids, oldest first, for the repetition penalty; `maskedId` where a step had no text. */
  get textHistory(): readonly number[] {
    return this.#textHistory;
  }

  /** The last ids of one book, oldest first, for the repetition penalty; masked ids as `maskedId`. */
  codecHistory(book: number): number[] {
    return this.#codecHistory.map((ids) => ids[book]!);
  }

  /**
   * Takes the ids sampled from one forward pass. `textId` is ignored, and may be null, in phase `speech`.
   *
   * @throws INVALID_ARGUMENT when already done, or without a text id where one is due
   * @throws INDEX_OUT_OF_RANGE when an id lies in the reserved range of its book and so names no codec code
   */
  step(textId: number | null, codecIds: ArrayLike<number>): SpeechStep {
    const before = this.#phase;
    if (before === "done")
      throw new CaracalError("INVALID_ARGUMENT", "the reply is complete: no further step is possible");
    if (before === "textAndSpeech" && (textId === null || textId < 0)) {
      throw new CaracalError("INVALID_ARGUMENT", `a text id is due in phase textAndSpeech, got ${textId}`);
    }
    checkCodecIds(codecIds);
    const text = before === "textAndSpeech" ? textId : null;
    this.#advance(text, codecIds[0]!);

    const opensSegment = this.#phase === "textAndSpeech" && this.#segmentStep === 1;
    const ids = Array.from(codecIds, (id, book) => (opensSegment && book > 0 ? maskedId : id));
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
    return semantic === null ? null : [semantic, ...ids.slice(1)].map((id) => id - codecIdOffset);
  }

  /** For rollback: `restore` brings this state, histories included, back. */
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

  restore(snapshot: SpeechSnapshot): void {
    this.#phase = snapshot.phase;
    this.#segmentStep = snapshot.segmentStep;
    this.#final = snapshot.final;
    this.#pendingSemantic = snapshot.pendingSemantic;
    this.#textHistory = [...snapshot.textHistory];
    this.#codecHistory = snapshot.codecHistory.map((ids) => [...ids]);
  }
}

function checkCodecIds(ids: ArrayLike<number>): void {
  if (ids.length !== codecBooks) {
    throw new CaracalError("INVALID_ARGUMENT", `expected ${codecBooks} codec ids, got ${ids.length}`);
  }
  for (let book = 0; book < codecBooks; book++) {
    const id = ids[book]!;
    if (Number.isInteger(id) && (id >= codecIdOffset || (book === 0 && id === semanticEndId))) continue;
    throw new CaracalError(
      "INDEX_OUT_OF_RANGE",
      `codec id ${id} of book ${book} is reserved; mask the logits below ${codecIdOffset} before sampling`,
      { book, id },
    );
  }
}
