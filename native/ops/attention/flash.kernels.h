#pragma once
// What the host tells an attention kernel; read by both.
#include "cuda/fault.h"

namespace caracal {

// Which of the checks of its data an operation's Fault is about.
enum AttentionFault { kFirstStart, kStartOrder, kLastStart, kLength, kBlock, kQueries };

// Element d of head h of row r is data[r * row + h * head + d].
struct HeadRows {
  const void* data;
  long long row, head;
  bool bf16;
};

// Sequence s is rows [starts[s], starts[s + 1]) of q and of the output.
struct PackedRows {
  const int* starts;
  int sequences;
  long long rows;
  Fault* fault;
};

// Keys that are not packed like the queries: of every sequence `room` of them, from key `first` on, and what was summed
// before. A sequence with n queries and k keys has the last n of its keys' positions as its queries'.
struct KeyChunk {
  const int* lengths;  // keys of each sequence; null where they are packed like the queries
  long long most;      // that a sequence can have
  long long first;
  int room;
  float* sums;    // [rows][heads][value], null where one chunk has all the keys
  float* scales;  // [rows][heads][2]: the maximum and the sum of the exponentials
};

struct FlashParameters {
  HeadRows q, k, v;
  PackedRows packed;
  KeyChunk chunk;
  void* out;  // [rows][heads][value]
  int heads, depth, value;
  float scale;  // of scores, times log2(e)
  bool causal;
  bool out_bf16;
  bool aligned;  // four elements from a multiple of four on can be moved together
};

}  // namespace caracal
