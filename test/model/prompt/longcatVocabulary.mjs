// Plain JavaScript, since bench/eventLoop.mjs uses it too.
import { createRequire } from "node:module";
import { brotliDecompressSync } from "node:zlib";

/**
 * The tokenizer.json of LongCat-Flash-Chat, with its 131,072 entries and 130,592 merges. The package abbreviates it: to
 * added tokens, normalizer, pre-tokenizer, decoder, the entries of the vocabulary, and merges as pairs of ids.
 * @returns {Record<string, unknown>}
 */
export function longcatTokenizerJson() {
  const require = createRequire(import.meta.url);
  const index = require.resolve("@cyberlangke/tokkit-meituan-longcat");
  const { default: data } = require(index.replace("index.cjs", "generated/longcat_flash_chat.cjs"));
  const { a, n, p, d, v, mi } = JSON.parse(brotliDecompressSync(Buffer.from(data, "base64")).toString());
  return {
    added_tokens: a,
    normalizer: n,
    pre_tokenizer: p,
    post_processor: null,
    decoder: d,
    model: {
      type: "BPE",
      vocab: Object.fromEntries(v.map((entry, id) => [entry, id])),
      merges: Array.from({ length: mi.length / 2 }, (_, i) => [v[mi[2 * i]], v[mi[2 * i + 1]]]),
    },
  };
}
