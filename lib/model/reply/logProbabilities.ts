import type { Steps } from "../../turns.js";

/** A token and the natural logarithm of its probability. */
export interface LogProbability {
  readonly id: number;
  readonly logProbability: number;
}

/** The log-probability of a token that was chosen, beside those of the likeliest tokens in its place. */
export interface TokenLogProbability extends LogProbability {
  /** The likeliest tokens, likeliest first; of equal ones, the lowest id first. */
  readonly top: readonly LogProbability[];
}

/** Logits between two pauses: a millisecond. */
const logitsPerStep = 1 << 16;

/**
 * The log-probability of a token in softmax(logits), in double precision. As for `sample`, NaN counts as −∞.
 * @param logits `[vocabulary]`
 * @param count the number of likeliest tokens to return
 */
export function* logProbabilitySteps(logits: Float32Array, id: number, count: number): Steps<TokenLogProbability> {
  const top: number[] = []; // ids, likeliest first
  const isBelow = (a: number, b: number) => logits[a]! < logits[b]!;
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) {
    if (i % logitsPerStep === logitsPerStep - 1) yield;
    if (logits[i]! > largest) largest = logits[i]!;
    const taken = top.length < count ? !Number.isNaN(logits[i]) : count > 0 && isBelow(top.at(-1)!, i);
    if (!taken) continue;
    if (top.length === count) top.pop();
    const place = top.findIndex((other) => isBelow(other, i));
    top.splice(place < 0 ? top.length : place, 0, i);
  }
  let sum = 0;
  for (let i = 0; i < logits.length; i++) {
    if (i % logitsPerStep === logitsPerStep - 1) yield;
    if (!Number.isNaN(logits[i])) sum += Math.exp(logits[i]! - largest);
  }
  const logSum = Math.log(sum);
  const of = (token: number): LogProbability => {
    const logit = logits[token]!;
    return { id: token, logProbability: Number.isNaN(logit) ? Number.NEGATIVE_INFINITY : logit - largest - logSum };
  };
  return { ...of(id), top: top.map(of) };
}
