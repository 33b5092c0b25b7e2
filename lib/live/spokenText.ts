import { reservedSpeechIds } from "../checkpoint/layout.js";
import type { OmniTokenizer } from "../model/prompt/tokenizer.js";
import type { SpeechInput } from "../model/speech/state.js";

/** Where a clause may end, in the languages that the model speaks. */
const breaks = /[.,;:!?…。，、；：！？\n]["'”’)」』]?\s*$/u;

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
