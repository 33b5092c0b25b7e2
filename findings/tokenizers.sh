#!/bin/sh
# @huggingface/tokenizers 0.2.0 cuts other words than the library in Rust (tokenizers 0.23.2): its ByteLevel step takes
# JavaScript's \s, which has U+FEFF and lacks U+0085, for Unicode's White_Space, so ids differ. Needs the npm package in
# ./node_modules, and tokenizers of Python. Prints the numbers of words.
set -eu
node -e '
  const { ByteLevelPreTokenizer } = require("@huggingface/tokenizers");
  const words = new ByteLevelPreTokenizer({ use_regex: true, add_prefix_space: false });
  for (const text of ["\u{feff}\u{feff}b", "a\u0085\u0085b"]) console.log("JavaScript", words.pre_tokenize_text(text).length, "words");
'
python3 -c '
from tokenizers.pre_tokenizers import ByteLevel
for text in ["\ufeff\ufeffb", "a\x85\x85b"]: print("Rust      ", len(ByteLevel(add_prefix_space=False).pre_tokenize_str(text)), "words")
'
