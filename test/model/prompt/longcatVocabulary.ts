import { createRequire } from "node:module";
import { brotliDecompressSync } from "node:zlib";
import { OmniTokenizer } from "../../../lib/model/prompt/tokenizer.js";

/** tokenizer.json as the package abbreviates it: merges are pairs of ids. */
interface Packed {
  readonly a: { readonly id: number; readonly content: string }[]; // added tokens
  readonly n: unknown; // normalizer
  readonly p: unknown; // pre-tokenizer
  readonly d: unknown; // decoder
  readonly v: string[]; // entries
  readonly mi: number[];
}

/** The tokenizer.json of LongCat-Flash-Chat, with its 131,072 entries and 130,592 merges. */
export function longcatTokenizerJson(): Record<string, unknown> {
  const require = createRequire(import.meta.url);
  const index = require.resolve("@cyberlangke/tokkit-meituan-longcat");
  const { default: data } = require(index.replace("index.cjs", "generated/longcat_flash_chat.cjs"));
  const { a, n, p, d, v, mi } = JSON.parse(brotliDecompressSync(Buffer.from(data, "base64")).toString()) as Packed;
  const merges = Array.from({ length: mi.length / 2 }, (_, i) => [v[mi[2 * i]!]!, v[mi[2 * i + 1]!]!]);
  return {
    added_tokens: a,
    normalizer: n,
    pre_tokenizer: p,
    post_processor: null,
    decoder: d,
    model: { type: "BPE", vocab: Object.fromEntries(v.map((entry, id) => [entry, id])), merges },
  };
}

export function longcatTokenizer(json = longcatTokenizerJson()): Promise<OmniTokenizer> {
  return OmniTokenizer.from({ tokenizer: json, config: { eos_token: "</longcat_s>" } });
}
