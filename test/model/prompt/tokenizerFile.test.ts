import { expect, test } from "vitest";
import { OmniTokenizer } from "../../../lib/model/prompt/tokenizer.js";
import { tokenizerConfig, tokenizerJson } from "./tinyTokenizer.js";

/** Sets the value at a path; undefined removes it. */
function set(json: unknown, path: readonly (string | number)[], value: unknown): void {
  const owner = path.slice(0, -1).reduce((node, key) => (node as Record<string, unknown>)[key], json);
  Object.assign(owner as object, { [path.at(-1)!]: value });
}

const token = { content: "<mask_1>", id: 25 };

test.each<[string, (string | number)[], unknown, RegExp]>([
  ["a normalizer", ["normalizer"], { type: "NFC" }, /normalizer must be null/],
  ["another decoder", ["decoder", "type"], "Metaspace", /decoder.type is "Metaspace"; expected "ByteLevel"/],
  ["another model", ["model", "type"], "Unigram", /model.type is "Unigram"; expected "BPE"/],
  ["byte fallback", ["model", "byte_fallback"], true, /model.byte_fallback is true; expected false/],
  ["dropout", ["model", "dropout"], 0.1, /model.dropout is 0.1; expected 0/],
  ["no vocabulary", ["model", "vocab"], null, /model.vocab must be an object/],
  ["a broken id", ["model", "vocab", "a"], 1.5, /model.vocab: the id of "a" must be a whole number from 0/],
  ["a huge id", ["model", "vocab", "a"], 2 ** 20, /the id of "a" must be a whole number from 0 to 1048575/],
  ["an id of two entries", ["model", "vocab", "a"], 250, /model.vocab gives one id to two names/],
  ["an id of text and a token", ["model", "vocab", "a"], 137, /disagree about id 137, "a"/],
  ["two ids of a token", ["model", "vocab", "</longcat_s>"], 700, /disagree about id 700, "<\/longcat_s>"/],
  ["an entry that is not bytes", ["model", "vocab", "你"], 700, /the entry "你", which is not spelt in byte-level/],
  ["an empty entry", ["model", "vocab", ""], 700, /model.vocab has an empty entry/],
  ["a long entry", ["model", "vocab", "a".repeat(1025)], 700, /has an entry of 1025 bytes, and at most 1024 are taken/],
  ["a missing byte", ["model", "vocab", "a"], undefined, /model.vocab has no entry "a"/],
  ["no merges", ["model", "merges"], {}, /model.merges must be a list of fewer than 1048576 pairs/],
  ["a broken merge", ["model", "merges", 0], "a b c", /model.merges\[0\] must be a pair of entries/],
  ["a merge of no entry", ["model", "merges", 0], ["ab", "c"], /model.vocab has no entry "ab"/],
  ["a merge into no entry", ["model", "merges", 0], "a b", /model.vocab has no entry "ab"/],
  ["no added tokens", ["added_tokens"], null, /added_tokens must be a list of at most 4096 tokens/],
  ["too many added tokens", ["added_tokens", "length"], 5000, /must be a list of at most 4096 tokens/],
  ["a token without id", ["added_tokens", 5, "id"], undefined, /added_tokens\[5\].id is missing/],
  ["a token twice", ["added_tokens", 9], token, /added_tokens\[9\].content must be a name of its own/],
  ["an id twice", ["added_tokens", 5, "id"], 0, /added_tokens gives one id to two names/],
  ["a long name", ["added_tokens", 5, "content"], "x".repeat(257), /a name of its own of at most 256 characters/],
  ["a token that strips spaces", ["added_tokens", 5, "lstrip"], true, /lstrip is true; expected false/],
])("a tokenizer.json is refused with %s", async (_, path, value, message) => {
  const json = tokenizerJson();
  set(json, path, value);
  const tokenizer = JSON.parse(JSON.stringify(json));
  const opening = OmniTokenizer.from({ tokenizer, config: tokenizerConfig, source: "x/tokenizer.json" });
  await expect(opening).rejects.toThrow(
    expect.objectContaining({ code: "CHECKPOINT_INVALID", message: expect.stringMatching(message) }),
  );
  await expect(opening).rejects.toThrow(/^x\/tokenizer.json: /);
});
