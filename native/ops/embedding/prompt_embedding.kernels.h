#pragma once

namespace caracal {

// What prompt_embedding is told of its tables and media. Read by the kernel and by the host.
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

}  // namespace caracal
