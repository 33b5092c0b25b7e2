// How a tokenizer cuts text into words, each of which is encoded on its own. The expressions in tokenizer.json are
// looked up here and never compiled: one by a stranger could take exponential time, and the published ones must be
// rewritten for JavaScript anyway.
import { isRecord } from "../../checkpoint/formats/json.js";
import { invalid, quote } from "../../checkpoint/problems.js";
import { CaracalError } from "../../errors.js";
import { plainList } from "../../options.js";

/** Expressions that are applied one after another, each to the words that the previous ones left. */
export type WordPatterns = readonly RegExp[];

/** GPT-2's words, for a `ByteLevel` step with `use_regex`. */
const gpt2Words =
  /'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** The expressions of the published tokenizer, as tokenizer.json spells them. */
const knownExpressions: ReadonlyMap<string, RegExp> = new Map([
  [
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
    /'(?:[sSſ]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL]{2}|[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\p{White_Space}\p{L}\p{N}]+[\r\n]*|\p{White_Space}*[\r\n]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu,
  ],
  [
    " ?[\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002\u300A\u300B\u300C\u300D\u3010\u3011]+",
    / ?[\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002\u300A\u300B\u300C\u300D\u3010\u3011]+/gu,
  ],
  ["[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+", /[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+/gu],
]);

/**
 * The patterns of a `pre_tokenizer` in tokenizer.json: `Split` steps with known expressions, then `ByteLevel`.
 * @throws {CaracalError} `CHECKPOINT_INVALID` for any other
 */
export function wordPatterns(preTokenizer: unknown, file: string): WordPatterns {
  const whole = isRecord(preTokenizer) ? preTokenizer : {};
  const steps: unknown[] = whole.type !== "Sequence" ? [whole] : asList(whole.pretokenizers);
  const last = steps.pop();
  if (!isRecord(last) || last.type !== "ByteLevel" || last.add_prefix_space === true)
    throw invalid(file, "pre_tokenizer must end with a ByteLevel step without add_prefix_space");
  const patterns = steps.map((step) => {
    const { type, behavior, invert, pattern } = isRecord(step) ? step : {};
    const expression = isRecord(pattern) ? pattern.Regex : undefined;
    const known = typeof expression === "string" ? knownExpressions.get(expression) : undefined;
    if (known !== undefined && type === "Split" && behavior === "Isolated" && invert !== true) return known;
    const found = typeof expression === "string" ? `the expression ${quote(expression)}` : "another step";
    throw invalid(file, `pre_tokenizer has ${found}; expected the steps of LongCat-Flash's tokenizer`);
  });
  return last.use_regex === false ? patterns : [...patterns, gpt2Words];
}

/** The steps that the published tokenizer has, and more. */
const maxSteps = 64;
const asList = (value: unknown): unknown[] =>
  Array.isArray(value) && value.length <= maxSteps ? plainList(value) : [];

/** Cuts `text` at the matches of the patterns: matches and what is between them are words. */
export function* words(text: string, patterns: WordPatterns): Generator<string, void> {
  const [pattern, ...others] = patterns;
  if (pattern === undefined) {
    yield text;
    return;
  }
  let end = 0;
  while (end < text.length) {
    const match = find(pattern, text, end);
    if (match === null) break;
    if (match.index > end) yield* words(text.slice(end, match.index), others);
    end = match.index + match[0].length;
    yield* words(match[0], others);
  }
  if (end < text.length) yield* words(text.slice(end), others);
}

/** The first match from `start`. No pattern matches the empty string. */
function find(pattern: RegExp, text: string, start: number): RegExpExecArray | null {
  pattern.lastIndex = start; // set before each search, since several texts may be in progress
  try {
    return pattern.exec(text);
  } catch (cause) {
    // V8's stack for expressions ends after about four million characters of one word.
    throw new CaracalError(
      "INVALID_ARGUMENT",
      "the text has a word of millions of characters; divide it",
      {},
      { cause },
    );
  }
}
