import { english } from "./english.js";

/** The ids that the published model's code relies on. */
export const specialTokens = { unknown: 0, bos: 1, eos: 2, pad: 3, pause: 137 } as const;

/** `<mask_k>` has id `k + 24`; the model uses masks 110 to 119 for its audio, image and turn marks. */
const firstMask = 24;
const masks = 120;
/** Ids from here on stand for text: first the 256 bytes, then merges of them. */
export const firstByteToken = firstMask + masks;
const bytes = 256;

/** Ids of words and pieces of words: what a reader would call text. */
export const firstMerge = firstByteToken + bytes;

export interface TokenizerFiles {
  /** The contents of `tokenizer.json`: byte-level BPE, so that any text goes there and back unchanged. */
  readonly model: object;
  /** The contents of `tokenizer_config.json`, chat template included. */
  readonly config: object;
  /** Number of ids, all of them in use. */
  readonly size: number;
}

/** Learns a tokenizer of at most `vocabSize` ids (at least {@link firstMerge}) from a short English text. */
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

/** The published prompt layout for text: no separators but new lines, a turn of the model closed by the end mark. */
const chatTemplate = [
  "{%- for message in messages -%}",
  "{%- if message['role'] == 'system' -%}{{ 'SYSTEM:' + message['content'] + eos_token + '\\n' }}",
  "{%- elif message['role'] == 'user' -%}{{ 'USER:' + message['content'] + '\\n' }}",
  "{%- else -%}{{ 'ASSISTANT:' + message['content'] + eos_token + '\\n' }}",
  "{%- endif -%}",
  "{%- endfor -%}",
  "{%- if add_generation_prompt -%}{{ 'ASSISTANT:' }}{%- endif -%}",
].join("");

/** GPT-2's letters for the 256 bytes: printable ones stand for themselves, the others follow from U+0100. */
function byteLetters(): string[] {
  const isPrintable = (byte: number) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  let next = 0x100;
  return Array.from({ length: bytes }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
}

/** GPT-2's way of cutting text into words, each with its leading space. */
const wordPattern = /'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

function wordCounts(letters: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const word of english.replaceAll("\n", " ").match(wordPattern)!) {
    const spelt = [...Buffer.from(word)].map((byte) => letters[byte]).join("");
    counts.set(spelt, (counts.get(spelt) ?? 0) + 1);
  }
  return counts;
}

/** Byte-pair encoding: joins the most frequent neighbours (ties: the first in code order), `limit` times at most. */
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
      const pair = `${pieces[i - 1]} ${pieces[i]}`; // a space is never a letter: byte 0x20 is written "Ġ"
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
