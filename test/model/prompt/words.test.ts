import { describe, expect, it } from "vitest";
import { wordPatterns, words } from "../../../lib/model/prompt/words.js";
import { publishedWords } from "./publishedWords.js";

const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };

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
    expect([...words(text, patterns)]).toEqual(expected);
  });

  it("are cut independently in texts that are in progress at the same time", () => {
    const [one, two] = ["one two three", "four five six"].map((text) => words(text, patterns));
    const found = Array.from({ length: 3 }, () => [one!.next().value, two!.next().value]);
    expect(found).toEqual([
      ["one", "four"],
      [" two", " five"],
      [" three", " six"],
    ]);
  });

  it("of millions of characters, for which the expression runs out of stack, are refused", () => {
    const exec = () => {
      throw new RangeError("Maximum call stack size exceeded");
    };
    expect(() => [...words("x", [{ exec } as unknown as RegExp])]).toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(/^the text has a word of mill/),
      }),
    );
  });
});

describe("GPT-2's words", () => {
  it("keep the leading space", () => {
    const patterns = wordPatterns(byteLevel, "tokenizer.json");
    expect([...words("It's 12 o'clock!?  So", patterns)]).toEqual([
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
