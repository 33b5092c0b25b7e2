#pragma once
// What host and device agree on about attention over keys and values in rows: parameters, tiles and kernels.
#include <cstddef>

#include "cuda/fault.h"
#include "cuda/kernel.h"

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

// --- tiles ----------------------------------------------------------------------------------------------------------

// A block's tile of queries in exact f32. An entry has up to kMaxColumns columns of the values per lane.
struct SimtFlashTile {
  static constexpr int kRows = 32, kThreads = 128, kMaxColumns = 4;
};

// A block's tile of queries on tensor cores: 16 to a warp, by heads of `depth` elements with values of `value`.
struct TensorFlashShape {
  char name[8];
  int depth, value, warps, blocks;  // blocks: at least so many on a multiprocessor

  static constexpr int kKeys = 64;  // in a stage, of which there are two in shared memory
  constexpr int rows() const { return warps * 16; }
  constexpr int threads() const { return warps * 32; }
  constexpr size_t shared_bytes() const { return size_t{2} * kKeys * (depth + value) * 2; }
};
inline constexpr TensorFlashShape kTensorFlashShapes[] = {
    {"64_64", 64, 64, 4, 2}, {"80_80", 80, 80, 4, 2}, {"128_128", 128, 128, 4, 2}, {"192_128", 192, 128, 8, 1}};

inline constexpr Kernel<FlashParameters> kFlashSimt{"flash_simt"};      // flash_simt_<columns per lane>
inline constexpr Kernel<FlashParameters> kFlashTensor{"flash_tensor"};  // flash_tensor_<depth>_<value>

}  // namespace caracal
