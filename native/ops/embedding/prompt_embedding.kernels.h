#pragma once
#include "cuda/fault.h"
#include "cuda/kernel.h"

namespace caracal {

// What prompt_embedding is told of its tables and media.
struct PromptTables {
  static constexpr int kMost = 33;  // the text's, and one for each book
  const void* rows[kMost];
  long long count[kMost];  // of rows
  int tables;
  long long pad_id;
};

enum PromptMedia { kAudio, kVision, kMediaKinds };

struct PromptMediaRows {
  const void* rows[kMediaKinds];
  long long count[kMediaKinds];
  long long pad_id[kMediaKinds];  // outside the range of i32: none
  bool f32[kMediaKinds];          // else bf16
};

// text ids, positions, media, media row of each position, fault
inline constexpr Kernel<const int*, long long, PromptMediaRows, int*, Fault*> kPromptMedia{"prompt_media"};
// text ids, codec ids, tables, media row of each position or null, media, y, columns, fault, whether 16 bytes of the
// wider type at a time can be moved. prompt_embedding_<tables>_<y>
inline constexpr Kernel<const int*, const int*, PromptTables, const int*, PromptMediaRows, void*, int, Fault*, bool>
    kPromptEmbedding{"prompt_embedding"};

}  // namespace caracal
