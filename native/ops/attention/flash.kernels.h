#pragma once
// FlashAttention over packed sequences: the parameters, tiles and kernels that host and device agree on.
#include <cstddef>

#include "cuda/fault.h"
#include "cuda/kernel.h"

namespace caracal {

// Element d of head h of row r is data[r * row_stride + h * head_stride + d].
struct HeadRows {
  const void* data;
  long long row_stride, head_stride;
  bool bf16;  // else f32
};

// Sequence s is rows [cu_seqlens[s], cu_seqlens[s + 1]) of q and of the output.
struct PackedRows {
  const int* cu_seqlens;
  int sequences;
  long long rows;
  Fault* fault;
};

// For keys that are not packed like the queries: a launch has keys [first, first + room) of every sequence, which begin
// at row s * room of k and v, and goes on with the state that earlier launches saved. The n queries of a sequence have
// the positions of its last n keys.
struct KeyChunk {
  const int* lengths;  // keys of each sequence; null if keys are packed like the queries
  long long max_keys;  // that a sequence can have
  long long first;
  int room;
  float* sums;   // [rows][heads][v_dim]; null if one launch has all keys
  float* stats;  // [rows][heads][parts of the values' columns][2]: the maximum score and the sum of the exponentials
};

struct FlashParameters {
  HeadRows q, k, v;
  PackedRows packed;
  KeyChunk chunk;
  void* out;  // [rows][heads][v_dim]
  int heads, qk_dim, v_dim;
  float scale;  // score_scale()
  bool causal;
  bool out_bf16;
  bool aligned;  // in exact f32: four elements starting at a multiple of four can be moved together
};

// --- tiles ----------------------------------------------------------------------------------------------------------

// A block's tile of queries in exact f32. A lane sums up to kMaxColumns of the values' columns, kWarp apart.
struct SimtFlashTile {
  static constexpr int kRows = 32, kThreads = 128, kMaxColumns = 4;
};

// A block's tile of queries on tensor cores, sixteen to a warp. The name is part of the entry's name.
struct TensorFlashShape {
  char name[8];
  int qk_dim, v_dim, warps;
  int min_blocks;  // on a multiprocessor

  static constexpr int kKeys = 64;  // in a stage; shared memory holds two stages
  constexpr int rows() const { return warps * 16; }
  constexpr int threads() const { return warps * 32; }
  constexpr size_t shared_bytes() const { return size_t{2} * kKeys * (qk_dim + v_dim) * 2; }
};
inline constexpr TensorFlashShape kTensorFlashShapes[] = {
    {"64_64", 64, 64, 4, 2}, {"80_80", 80, 80, 4, 2}, {"128_128", 128, 128, 4, 2}, {"192_128", 192, 128, 8, 1}};

inline constexpr Kernel<FlashParameters> kFlashSimt{"flash_simt"};      // flash_simt_<columns per lane>
inline constexpr Kernel<FlashParameters> kFlashTensor{"flash_tensor"};  // flash_tensor_<qk_dim>_<v_dim>

}  // namespace caracal
