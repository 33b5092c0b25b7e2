import { Fields } from "../../checkpoint/fields.js";
import { keysOf } from "../../checkpoint/formats/json.js";
import { invalid, quote } from "../../checkpoint/problems.js";
import { isRecord, plainList } from "../../options.js";
import type { Steps } from "../../turns.js";
import { BytePairs, maxIds, stepsPerYield, type Vocabulary } from "./bytePairs.js";
import { type WordPatterns, wordPatterns } from "./words.js";

/** A tokenizer as tokenizer.json describes it. */
export interface TokenizerFile {
  readonly patterns: WordPatterns;
  readonly pairs: BytePairs;
  /** The ids of the control tokens, by name. No text is encoded to them. */
  readonly controls: ReadonlyMap<string, number>;
}

/** The published tokenizer has 224 control tokens with names of up to 28 characters. */
const maxControls = 4096;
const maxNameLength = 256;

/**
 * Reads the contents of a tokenizer.json: byte-level BPE with the words of a published tokenizer. It yields now and
 * then, since there may be a million entries.
 * @throws {CaracalError} `CHECKPOINT_INVALID`
 */
export function* parseTokenizer(json: unknown, file: string): Steps<TokenizerFile> {
  const fields = new Fields(json);
  const { normalizer, pre_tokenizer, model, added_tokens } = isRecord(json) ? json : {};
  if (normalizer !== null && normalizer !== undefined) fields.check([], false, "normalizer must be null");
  fields.section("decoder").choice("type", ["ByteLevel"]);
  const bpe = fields.section("model");
  bpe.choice("type", ["BPE"]);
  for (const name of ["byte_fallback", "ignore_merges"]) bpe.fixed(name, false);
  bpe.fixed("dropout", 0);
  for (const name of ["continuing_subword_prefix", "end_of_word_suffix"]) bpe.fixed(name, "");
  fields.finish(file);
  const { vocab, merges } = model as Record<string, unknown>;
  const controls = controlTokens(added_tokens, file);
  const patterns = wordPatterns(pre_tokenizer, file);
  const vocabulary = yield* entries(vocab, controls, file);
  const length = Array.isArray(merges) ? merges.length : maxIds;
  if (!Array.isArray(merges) || length >= maxIds)
    throw invalid(file, `model.merges must be a list of fewer than ${maxIds} pairs`);
  const pairs = yield* BytePairs.from(vocabulary, mergePairs(merges, length, file), length, file);
  return { patterns, pairs, controls };
}

function controlTokens(tokens: unknown, file: string): Map<string, number> {
  if (!Array.isArray(tokens) || tokens.length > maxControls)
    throw invalid(file, `added_tokens must be a list of at most ${maxControls} tokens`);
  const ids = new Map<string, number>();
  for (const [i, token] of plainList(tokens).entries()) {
    const fields = new Fields(token, `added_tokens[${i}].`);
    const name = fields.text("content");
    const id = fields.integer("id", { min: 0, max: maxIds - 1 });
    for (const flag of ["single_word", "lstrip", "rstrip"]) fields.fixed(flag, false);
    const isName = name !== "" && name.length <= maxNameLength && !ids.has(name);
    fields.check(
      [],
      isName,
      `added_tokens[${i}].content must be a name of its own of at most ${maxNameLength} characters`,
    );
    fields.finish(file);
    ids.set(name, id);
  }
  if (new Set(ids.values()).size < ids.size) throw invalid(file, "added_tokens gives one id to two names");
  return ids;
}

/** The vocabulary of text: without the control tokens, which published files list there too. */
function* entries(vocab: unknown, controls: ReadonlyMap<string, number>, file: string): Steps<Vocabulary> {
  if (!isRecord(vocab)) throw invalid(file, "model.vocab must be an object");
  const taken = new Set(controls.values());
  const vocabulary = { ids: new Map<string, number>(), entries: [] as string[] };
  for (const [i, entry] of keysOf(vocab).entries()) {
    if (i % stepsPerYield === 0) yield;
    const id = vocab[entry];
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= maxIds)
      throw invalid(file, `model.vocab: the id of ${quote(entry)} must be a whole number from 0 to ${maxIds - 1}`);
    const control = controls.get(entry);
    if (control === id) continue;
    if (control !== undefined || taken.has(id))
      throw invalid(file, `model.vocab and added_tokens disagree about id ${id}, ${quote(entry)}`);
    if (vocabulary.entries[id] !== undefined) throw invalid(file, "model.vocab gives one id to two names");
    vocabulary.ids.set(entry, id);
    vocabulary.entries[id] = entry;
  }
  return vocabulary;
}

/** Merges are written as pairs, or as one string with a space, which no letter is. */
function* mergePairs(
  merges: readonly unknown[],
  length: number,
  file: string,
): Generator<readonly [string, string], void> {
  for (let i = 0; i < length; i++) {
    const merge = merges[i];
    const pair: unknown = typeof merge === "string" ? merge.split(" ") : merge;
    const [left, right] = Array.isArray(pair) && pair.length === 2 ? plainList<unknown>(pair) : [];
    if (typeof left !== "string" || typeof right !== "string")
      throw invalid(file, `model.merges[${i}] must be a pair of entries`);
    yield [left, right];
  }
}
