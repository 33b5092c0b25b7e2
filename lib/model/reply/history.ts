import type { Steps } from "../../turns.js";
import type { Part, SpeechSegment } from "../prompt/messages.js";
import type { OmniTokenizer } from "../prompt/tokenizer.js";
import { codecBooks, type SpeechStep } from "../speech/state.js";

/** A spoken reply as a part of an assistant's message. */
export type SpeechPart = Extract<Part, { readonly type: "speech" }>;

/** Collects a spoken reply in the form that the prompts of later turns take. */
export class SpokenHistory {
  readonly #tokenizer: OmniTokenizer;
  readonly #segments: { readonly ids: number[]; readonly codes: number[] }[] = [];
  #before: SpeechStep["phase"] = "done";

  constructor(tokenizer: OmniTokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** Adds what a step completed; the frame that a segment's last step completes belongs to that segment. */
  add({ textId, frame, phase }: SpeechStep): void {
    if (this.#before === "done") this.#segments.push({ ids: [], codes: [] });
    const { ids, codes } = this.#segments.at(-1)!;
    if (textId !== null && !this.#isMark(textId)) ids.push(textId);
    if (frame) codes.push(...frame);
    this.#before = this.#before === "speech" && phase !== "speech" ? "done" : phase;
  }

  /**
   * The whole reply, without segments that were not spoken; null if none was. A prompt has no room for more tokens of
   * text than frames of speech, so the text of a segment is cut where its speech ended.
   */
  *partSteps(): Steps<SpeechPart | null> {
    const segments: SpeechSegment[] = [];
    for (const { ids, codes } of this.#segments)
      if (codes.length > 0) segments.push({ text: yield* this.#text(ids, codes.length / codecBooks), codes });
    return segments.length > 0 ? { type: "speech", segments } : null;
  }

  #isMark(id: number): boolean {
    return id === this.#tokenizer.endId || id === this.#tokenizer.specialId("</pause>");
  }

  /** The text of the first ids that encodes to at most `limit` tokens: not always as many as it was decoded from. */
  *#text(ids: readonly number[], limit: number): Steps<string> {
    for (let length = Math.min(ids.length, limit); length > 0; ) {
      const stream = this.#tokenizer.stream();
      const text = ids.slice(0, length).reduce((sum, id) => sum + stream.push(id), "");
      const encoded: number[] = [];
      yield* this.#tokenizer.encodeSteps(text, encoded);
      if (encoded.length <= limit) return text;
      length = Math.min(length - 1, Math.floor((length * limit) / encoded.length));
    }
    return "";
  }
}
