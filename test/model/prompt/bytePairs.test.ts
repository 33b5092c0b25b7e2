import { createRequire } from "node:module";
import { describe, expect, it } from "vitest";
import { parseTokenizer } from "../../../lib/model/prompt/tokenizerFile.js";
import { makeTokenizer } from "../../../lib/synth/tokenizer.js";
import { atOnce } from "../../../lib/turns.js";
import { uniform } from "../../support/numbers.js";
import { publishedWords } from "./publishedWords.js";
import { randomText } from "./randomText.js";

interface Library {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
}
const { Tokenizer } = createRequire(import.meta.url)("@huggingface/tokenizers") as {
  Tokenizer: new (json: object, config: object) => Library;
};

/** Spaces that only one of JavaScript's expressions and Unicode's White_Space has, of which the library takes the former. */
const disputed = /[\u0085\uFEFF]/g;

const learned = makeTokenizer(1152, 4096).model as Record<string, unknown>;

describe.each<[string, Record<string, unknown>]>([
  ["GPT-2's words", learned],
  ["the published words", { ...learned, pre_tokenizer: publishedWords }],
])("ids are those of @huggingface/tokenizers, with %s", (_, json) => {
  const { pairs, patterns } = atOnce(parseTokenizer(json, "tokenizer.json"));
  const library = new Tokenizer(json, {});
  const encode = (text: string): number[] => {
    const ids: number[] = [];
    atOnce(pairs.encode(text, patterns, ids));
    return ids;
  };
  const expected = (text: string) => library.encode(text, { add_special_tokens: false }).ids;

  it("for random text, also a second time", () => {
    const random = uniform(7);
    for (let i = 0; i < 1000; i++) {
      const text = randomText(random).replaceAll(disputed, "");
      const ids = encode(text);
      expect(ids, JSON.stringify(text)).toEqual(expected(text));
      expect(encode(text)).toEqual(ids);
    }
  });

  it.each([
    ["one letter", "a".repeat(10_000)],
    ["two letters", "an".repeat(5000)],
    ["a word", "caracal".repeat(2000)],
    ["Chinese", "的一是不了在人有我他".repeat(500)],
    ["spaces", `${" ".repeat(10_000)}x`],
  ])("for a long run: %s", (_, text) => {
    expect(encode(text)).toEqual(expected(text));
  });

  it("and never fewer than their bound", () => {
    const random = uniform(8);
    for (let i = 0; i < 300; i++) {
      const text = randomText(random);
      const count = encode(text).length;
      const least = pairs.share(Buffer.from(text));
      expect(least).toBeGreaterThan(0);
      expect(least).toBeLessThan(count + 1e-9);
    }
  });
});
