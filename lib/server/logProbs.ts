import type { OmniTokenizer } from "../model/prompt/tokenizer.js";
import type { LogProbability, TokenLogProbability } from "../model/reply/logProbabilities.js";

/** What OpenAI writes for a token of no probability: JSON has no infinity. */
const least = -9999;

/** Log-probabilities as OpenAI writes them. A control token has a name, and no bytes. */
export function logProbs(tokens: readonly TokenLogProbability[], tokenizer: OmniTokenizer) {
  const written = ({ id, logProbability }: LogProbability) => {
    const token = tokenizer.tokenOf(id) ?? "";
    const logprob = Math.max(least, logProbability);
    if (typeof token === "string") return { token, logprob, bytes: null };
    return { token: Buffer.from(token).toString(), logprob, bytes: [...token] };
  };
  return tokens.map((token) => ({ ...written(token), top_logprobs: token.top.map(written) }));
}
