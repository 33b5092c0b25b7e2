import type { ReplyUsage } from "../model/reply/usage.js";

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

/**
 * The tokens of a request. The prompt counts once, though each choice reads it. `completion_tokens` are the steps of the
 * language model, which `max_completion_tokens` bounds: a step may give a token of text and a frame of speech, so that
 * the details can add up to more.
 */
export function completionUsage(choices: readonly ReplyUsage[]) {
  const [first] = choices as [ReplyUsage];
  const { promptTokens: prompt_tokens, cachedTokens: cached_tokens, stages } = first;
  const [audio_tokens, image_tokens] = [stages["audio encoder"].tokens, stages.vision.tokens];
  const completion_tokens = sum(choices.map(({ steps }) => steps));
  return {
    prompt_tokens,
    completion_tokens,
    total_tokens: prompt_tokens + completion_tokens,
    prompt_tokens_details: {
      audio_tokens,
      image_tokens,
      text_tokens: prompt_tokens - audio_tokens - image_tokens,
      cached_tokens,
    },
    completion_tokens_details: {
      text_tokens: sum(choices.map(({ textTokens }) => textTokens)),
      audio_tokens: sum(choices.map((usage) => usage.stages["speech decoder"].tokens)),
      reasoning_tokens: 0,
    },
  };
}
