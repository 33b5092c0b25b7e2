import { reservedSpeechIds } from "../checkpoint/layout.js";
import type { KvSequence } from "../model/language/kvCache.js";
import type { OmniTokenizer } from "../model/prompt/tokenizer.js";
import type { SpeechInput } from "../model/speech/state.js";
import type { ReplyEnd } from "./turnInput.js";

/** A reply that is a part of the conversation. */
export interface SpokenReply {
  readonly item: string;
  readonly spoken: boolean;
  /** Rows of the conversation before the reply's own. */
  readonly from: number;
  /** The inputs of its steps, a row each. */
  readonly steps: readonly SpeechInput[];
}

/** Where a clause may end, in the languages that the model speaks. */
const breaks = /[.,;:!?…。，、；：！？\n]["'”’)」』]?\s*$/u;

/** What was said so far, as rows of the KV cache. */
export class Conversation implements Disposable {
  readonly #tokenizer: OmniTokenizer;
  #sequence: KvSequence;
  #reply: SpokenReply | undefined;

  /** @param sequence empty; the conversation owns it */
  constructor(sequence: KvSequence, tokenizer: OmniTokenizer) {
    this.#sequence = sequence;
    this.#tokenizer = tokenizer;
  }

  get sequence(): KvSequence {
    return this.#sequence;
  }

  /** The last reply, which rows of the turn after it may follow. */
  get reply(): SpokenReply | undefined {
    return this.#reply;
  }

  /** How that reply ended. */
  get ended(): ReplyEnd | undefined {
    if (!this.#reply) return undefined;
    const { spoken, steps } = this.#reply;
    return { spoken, textEnded: steps.some(({ textId }) => textId === this.#tokenizer.endId) };
  }

  /** The conversation goes on after a reply. @param sequence the conversation's and the reply's rows, which it takes */
  adopt(sequence: KvSequence, reply: SpokenReply): void {
    this.#sequence.dispose();
    this.#sequence = sequence;
    this.#reply = reply;
  }

  /** Removes what follows the first steps of the last reply, and rows of a turn after it. @returns the text that stays */
  cut(steps: number): string {
    const reply = this.#reply!;
    this.#sequence.truncate(reply.from + steps);
    this.#reply = { ...reply, steps: reply.steps.slice(0, steps) };
    return textOf(this.#reply.steps, this.#tokenizer);
  }

  dispose(): void {
    this.#sequence.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * The number of steps of a reply that a listener knows who has heard so many frames of its speech: up to the last natural
 * break before that, or up to there if there is none. All of them if everything was heard.
 */
export function heardSteps(steps: readonly SpeechInput[], frames: number, tokenizer: OmniTokenizer): number {
  let heard = 0;
  for (let seen = 0; heard < steps.length; heard++) {
    if (steps[heard]!.codecIds[0]! >= reservedSpeechIds && ++seen > frames) break;
  }
  if (heard === steps.length) return heard;
  const stream = tokenizer.stream();
  let last = 0;
  for (let step = 0; step < heard; step++) {
    const { textId } = steps[step]!;
    if (textId !== null && breaks.test(stream.push(textId))) last = step + 1;
  }
  return last || heard;
}

/** The text of steps, without the names of control tokens. */
export function textOf(steps: readonly SpeechInput[], tokenizer: OmniTokenizer): string {
  const marks = [tokenizer.endId, tokenizer.specialId("</pause>")];
  const stream = tokenizer.stream();
  const ids = steps.flatMap(({ textId }) => (textId === null || marks.includes(textId) ? [] : [textId]));
  return (ids.map((id) => stream.push(id)).join("") + stream.end()).trim();
}
