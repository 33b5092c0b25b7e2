import { OmniTokenizer } from "../../../lib/model/prompt/tokenizer.js";

/** GPT-2's printable characters for bytes, by byte. */
function byteCharacters(): string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCodePoint(printable ? byte : next++);
  });
}

/** A byte-level BPE without merges: ids 0-3 control, 24-151 `<mask_0>`…, then one id per byte. */
export function tokenizerJson(firstMaskId = 24): Record<string, unknown> {
  const special = ["<longcat_unk>", "<longcat_s>", "</longcat_s>", "<longcat_pad>"].map((content, id) => ({
    id,
    content,
  }));
  const masks = Array.from({ length: 128 }, (_, i) => ({ id: firstMaskId + i, content: `<mask_${i}>` }));
  const vocab = Object.fromEntries(byteCharacters().map((character, i) => [character, firstMaskId + 128 + i]));
  for (const { id, content } of special) vocab[content] = id;
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [...special, ...masks].map((token) => ({
      ...token,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: "<longcat_unk>",
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab,
      merges: [],
    },
  };
}

export const tokenizerConfig = {
  tokenizer_class: "PreTrainedTokenizerFast",
  bos_token: "<longcat_s>",
  eos_token: { content: "</longcat_s>" },
  pad_token: "<longcat_pad>",
  unk_token: "<longcat_unk>",
};

export function tinyTokenizer(config: Record<string, unknown> = tokenizerConfig): Promise<OmniTokenizer> {
  return OmniTokenizer.from({ tokenizer: tokenizerJson(), config });
}
