const split = (Regex: string) => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false });

/** The `pre_tokenizer` of the published tokenizer.json. */
export const publishedWords = {
  type: "Sequence",
  pretokenizers: [
    split(
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
    ),
    split(" ?[！-／：-～‘-‟\u3000-。《》「」【】]+"),
    split("[一-龥\u0800-一가-\uD7FF]+"),
    { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
  ],
};

/** Cuts text at the matches of expressions, which are applied one after another: matches and what is between are words. */
export function wordsOf(text: string, [expression, ...others]: readonly RegExp[]): string[] {
  if (expression === undefined) return text === "" ? [] : [text];
  const words: string[] = [];
  let end = 0;
  for (const match of text.matchAll(expression)) {
    words.push(...wordsOf(text.slice(end, match.index), others), ...wordsOf(match[0], others));
    end = match.index + match[0].length;
  }
  return [...words, ...wordsOf(text.slice(end), others)];
}

/** The expressions of `publishedWords`, and those of GPT-2's words, for JavaScript. */
export const wordExpressions = {
  published: [
    /'(?:[sSſ]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL]{2}|[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\p{White_Space}\p{L}\p{N}]+[\r\n]*|\p{White_Space}*[\r\n]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu,
    / ?[\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002\u300A\u300B\u300C\u300D\u3010\u3011]+/gu,
    /[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+/gu,
  ],
  gpt2: [
    /'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu,
  ],
};
