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
