#pragma once
#include "cuda/fault.h"
#include "cuda/kernel.h"

namespace caracal {

struct PromptTables {
  static constexpr int kMaxTables = 33;  // the text's and one per codec book
  const void* rows[kMaxTables];
  long long count[kMaxTables];  // of rows
  int tables;
  long long pad_id;
};

enum PromptMedia { kAudio, kVision, kMediaKinds };

struct PromptMediaRows {
  const void* rows[kMediaKinds];
  long long count[kMediaKinds];
  long long pad_id[kMediaKinds];  // outside the range of i32 if there is none
  bool f32[kMediaKinds];          // else bf16
};

inline constexpr int kPromptMediaThreads = 1024;

// prompt_media, in one block: text ids, positions, media, media row of each position, fault
inline constexpr Kernel<const int*, long long, PromptMediaRows, int*, Fault*> kPromptMedia{"prompt_media"};
// prompt_embedding_<tables>_<y>: text ids, codec ids, tables, media row of each position or null, media, y, columns,
// fault, whether vectors of 16 bytes of the wider type can be moved
inline constexpr Kernel<const int*, const int*, PromptTables, const int*, PromptMediaRows, void*, int, Fault*, bool>
    kPromptEmbedding{"prompt_embedding"};

}  // namespace caracal
