import { describe, expect, it } from "vitest";
import { unitsAtOnce } from "../../../lib/model/prompt/runs.js";
import { type WordPatterns, Words, wordPatterns } from "../../../lib/model/prompt/words.js";
import { uniform } from "../../support/numbers.js";
import { publishedWords, wordExpressions, wordsOf } from "./publishedWords.js";
import { randomText } from "./randomText.js";

const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };

/** The words, and how often there was a pause before one. */
function cut(text: string, patterns: WordPatterns): { found: string[]; pauses: number } {
  const words = new Words(text, patterns);
  const found: string[] = [];
  let pauses = 0;
  while (!words.done) {
    if (words.next()) found.push(text.slice(words.start, words.end));
    else pauses++;
  }
  return { found, pauses };
}

describe("words of the published tokenizer", () => {
  const patterns = wordPatterns(publishedWords, "tokenizer.json");

  // As Hugging Face's tokenizers 0.23.2 (Rust) cuts them.
  it.each([
    ["It's 2024, isn'T it'ſ x", ["It", "'s", " ", "2", "0", "2", "4", ",", " isn", "'T", " it", "'ſ", " x"]],
    ["USER:你好，世界！Hello\r\n\r\n  x", ["USER", ":", "你好", "，", "世界", "！", "Hello", "\r\n\r\n", " ", " x"]],
    ["  a   b\t\n\n c\u0085d\uFEFFe", [" ", " a", "  ", " b", "\t\n\n", " c", "\u0085d", "\uFEFFe"]],
    ["３월 ひらがな。「カ」🙂🙂...!?\n", ["３", "월", " ", "ひらがな", "。「", "カ", "」", "🙂🙂...!?\n"]],
    [
      "a\u3000\u3000b 《x》 e\u0301 ²½",
      ["a", "\u3000", "\u3000", "b", " ", "《", "x", "》", " e", "\u0301", " ", "²", "½"],
    ],
  ])("%j", (text, expected) => {
    expect(cut(text, patterns).found).toEqual(expected);
  });

  it("are cut independently in texts that are in progress at the same time", () => {
    const [one, two] = ["one two three", "four five six"].map((text) => ({ text, words: new Words(text, patterns) }));
    const next = ({ text, words }: { text: string; words: Words }) => {
      expect(words.next()).toBe(true);
      return text.slice(words.start, words.end);
    };
    expect([next(one!), next(two!), next(one!), next(two!)]).toEqual(["one", "four", " two", " five"]);
  });
});

describe.each([
  ["the published tokenizer", publishedWords, wordExpressions.published],
  ["GPT-2", byteLevel, wordExpressions.gpt2],
])("the words of %s are those of its expressions", (_, preTokenizer, expressions) => {
  const patterns = wordPatterns(preTokenizer, "tokenizer.json");

  it("in random text", () => {
    const random = uniform(9);
    for (let i = 0; i < 3000; i++) {
      const text = randomText(random);
      expect(cut(text, patterns).found, JSON.stringify(text)).toEqual(wordsOf(text, expressions));
    }
  });

  it("between any two characters of different kinds, and three", () => {
    const characters = [
      "a",
      "中",
      "1",
      " ",
      "\n",
      "\r",
      "\t",
      "\u3000",
      "!",
      "，",
      "'",
      "s",
      "ſ",
      "L",
      "🙂",
      "\uD83D",
      "\uDE42",
    ];
    for (const a of characters)
      for (const b of characters)
        for (const c of characters) {
          const text = a + b + c + c;
          expect(cut(text, patterns).found, JSON.stringify(text)).toEqual(wordsOf(text, expressions));
        }
  });

  it.each(["a", "中", "🙂", "!", "，", " ", "\n", "\r\n ", "a ", "1"])(
    "for a long run of %j, with pauses within a word",
    (unit) => {
      const text = `x${unit.repeat(300_000 / unit.length)}`;
      const { found, pauses } = cut(text, patterns);
      expect(found.join("|")).toBe(wordsOf(text, expressions).join("|")); // comparing lists would take half a minute
      const longest = found.reduce((most, word) => Math.max(most, word.length), 0);
      expect(pauses).toBeGreaterThanOrEqual(Math.floor(longest / unitsAtOnce));
    },
  );
});

describe("GPT-2's words", () => {
  it("keep the leading space", () => {
    const patterns = wordPatterns(byteLevel, "tokenizer.json");
    expect(cut("It's 12 o'clock!?  So", patterns).found).toEqual([
      "It",
      "'s",
      " 12",
      " o",
      "'",
      "clock",
      "!?",
      " ",
      " So",
    ]);
  });
});

describe("a pre_tokenizer that is not known", () => {
  const [split, ...others] = publishedWords.pretokenizers;
  const changed = (change: object) => ({ type: "Sequence", pretokenizers: [{ ...split, ...change }, ...others] });
  it.each<[string, unknown, RegExp]>([
    ["null", null, /^x\.json: pre_tokenizer must end with a ByteLevel step/],
    ["another kind", { type: "Whitespace" }, /must end with a ByteLevel step/],
    ["a prefix", { ...byteLevel, add_prefix_space: true }, /without add_prefix_space/],
    ["an empty sequence", { type: "Sequence", pretokenizers: [] }, /must end with a ByteLevel step/],
    [
      "another expression",
      changed({ pattern: { Regex: "\\w+" } }),
      /^x\.json: pre_tokenizer has the expression "\\\\w\+"; expected/,
    ],
    ["a string", changed({ pattern: { String: "\\w+" } }), /pre_tokenizer has another step; expected/],
    ["removed words", changed({ behavior: "Removed" }), /pre_tokenizer has the expression/],
    ["inverted words", changed({ invert: true }), /pre_tokenizer has the expression/],
  ])("is refused, and never compiled: %s", (_, preTokenizer, message) => {
    expect(() => wordPatterns(preTokenizer, "x.json")).toThrow(
      expect.objectContaining({ code: "CHECKPOINT_INVALID", message: expect.stringMatching(message) }),
    );
  });
});
