import { createRequire } from "node:module";

// The parts of the two libraries that are used, typed here and loaded by `require`: the libraries' own declarations
// import without file extensions, which NodeNext resolution rejects even inside a library.
const require = createRequire(import.meta.url);

interface TokenizerInstance {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
}

export type Tokenizer = TokenizerInstance;
export const { Tokenizer } = require("@huggingface/tokenizers") as {
  Tokenizer: new (json: object, config: object) => TokenizerInstance;
};

export const { Template } = require("@huggingface/jinja") as {
  Template: new (source: string) => { render(variables: Record<string, unknown>): string };
};
