import { corpus } from "./corpus.js";

/** The ids that the published model's code relies on. */
export const specialTokens = { unknown: 0, bos: 1, eos: 2, pad: 3, pause: 137 } as const;

/** `<mask_k>` has id `k + 24`. The model uses masks 110 to 119 as its audio, image and turn marks. */
const firstMask = 24;
const masks = 120;
/** The first id of text: the 256 bytes come first, then merges of them. */
export const firstByteToken = firstMask + masks;
const bytes = 256;

/** The first id of a merge. Merges are words and parts of words, so they are what a reader would call text. */
export const firstMerge = firstByteToken + bytes;

export interface TokenizerFiles {
  /** The contents of `tokenizer.json`: byte-level BPE, so any text survives the round trip. */
  readonly model: object;
  /** The contents of `tokenizer_config.json`, including the chat template. */
  readonly config: object;
  /** The number of ids, all of them in use. */
  readonly size: number;
}

/** Learns a tokenizer with at most `vocabSize` ids (but at least {@link firstMerge}) from a short English text. */
export function makeTokenizer(vocabSize: number, contextLength: number): TokenizerFiles {
  const specials = specialNames();
  const letters = byteLetters();
  const merges = learnMerges(wordCounts(letters), vocabSize - firstMerge);
  const names = [...specials, ...letters, ...merges.map(([a, b]) => a + b)];
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const model = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specials.map((content, id) => {
      return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
    }),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(names.map((name, id) => [name, id])),
      merges,
    },
  };
  return { model, config: tokenizerConfig(specials, contextLength), size: names.length };
}

function specialNames(): string[] {
  const first = ["<longcat_unk>", "<longcat_s>", "</longcat_s>", "<longcat_pad>", "<longcat_tool_call>"];
  const reserved = Array.from({ length: firstMask - first.length }, (_, i) => `<reserved_${i}>`);
  return [...first, ...reserved, ...Array.from({ length: masks }, (_, k) => `<mask_${k}>`)];
}

function tokenizerConfig(specials: readonly string[], contextLength: number): object {
  const { unknown, bos, eos, pad } = specialTokens;
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    add_bos_token: false,
    add_eos_token: false,
    add_prefix_space: false,
    clean_up_tokenization_spaces: false,
    model_max_length: contextLength,
    unk_token: specials[unknown],
    bos_token: specials[bos],
    eos_token: specials[eos],
    pad_token: specials[pad],
    chat_template: chatTemplate,
  };
}

/** The published prompt layout for text: turns end in a newline, those of the system and the model in an end mark too. */
const chatTemplate = [
  "{%- for message in messages -%}",
  "{%- if message['role'] == 'system' -%}{{ 'SYSTEM:' + message['content'] + eos_token + '\\n' }}",
  "{%- elif message['role'] == 'user' -%}{{ 'USER:' + message['content'] + '\\n' }}",
  "{%- else -%}{{ 'ASSISTANT:' + message['content'] + eos_token + '\\n' }}",
  "{%- endif -%}",
  "{%- endfor -%}",
  "{%- if add_generation_prompt -%}{{ 'ASSISTANT:' }}{%- endif -%}",
].join("");

/** GPT-2's letters for the 256 bytes: printable ones are kept, the others are numbered from U+0100. */
function byteLetters(): string[] {
  const isPrintable = (byte: number) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  let next = 0x100;
  return Array.from({ length: bytes }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
}

/** GPT-2's pattern for words, each with its leading space. */
const wordPattern = /'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

function wordCounts(letters: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const word of corpus.replaceAll("\n", " ").match(wordPattern)!) {
    const spelt = [...Buffer.from(word)].map((byte) => letters[byte]).join("");
    counts.set(spelt, (counts.get(spelt) ?? 0) + 1);
  }
  return counts;
}

/** Byte-pair encoding: merges the most frequent pair (on a tie, the first in code order) at most `limit` times. */
function learnMerges(counts: ReadonlyMap<string, number>, limit: number): [string, string][] {
  let words: Word[] = [...counts].map(([word, count]) => ({ pieces: [...word], count }));
  const merges: [string, string][] = [];
  while (merges.length < limit) {
    const best = mostFrequentPair(words);
    if (!best) break;
    merges.push(best);
    words = words.map((word) => join(word, best)).filter(({ pieces }) => pieces.length > 1);
  }
  return merges;
}

interface Word {
  readonly pieces: readonly string[];
  readonly count: number;
}

function mostFrequentPair(words: readonly Word[]): [string, string] | undefined {
  const pairs = new Map<string, number>();
  for (const { pieces, count } of words) {
    for (let i = 1; i < pieces.length; i++) {
      const pair = `${pieces[i - 1]} ${pieces[i]}`; // a space is never a letter, since byte 0x20 is written "Ġ"
      pairs.set(pair, (pairs.get(pair) ?? 0) + count);
    }
  }
  let best: [string, number] | undefined;
  for (const [pair, count] of pairs) {
    if (!best || count > best[1] || (count === best[1] && pair < best[0])) best = [pair, count];
  }
  return best && (best[0].split(" ") as [string, string]);
}

function join({ pieces, count }: Word, [a, b]: readonly [string, string]): Word {
  const joined: string[] = [];
  for (const piece of pieces) {
    if (piece === b && joined.at(-1) === a) joined[joined.length - 1] = a + b;
    else joined.push(piece);
  }
  return { pieces: joined, count };
}
