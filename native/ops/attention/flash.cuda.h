#pragma once
// Which kernel attends and how many blocks of it.
#include <cmath>
#include <optional>

#include "cuda/implement.h"
#include "ops/attention/attention_tiles.cuda.h"
#include "ops/attention/flash.kernels.h"
#include "ops/attention/sequences.h"

namespace caracal::cuda {

constexpr double kLog2E = 1.4426950408889634;

inline float score_scale(std::optional<double> scale, int64_t depth) {
  return static_cast<float>(kLog2E * scale.value_or(1 / std::sqrt(static_cast<double>(depth))));
}

// A kernel's tiles of queries, and in how many parts the columns of the values are cut.
struct FlashTiling {
  std::string name;
  int rows;
  unsigned threads;
  unsigned parts = 1;
  size_t shared_bytes = 0;
};

inline FlashTiling simt_flash_tiling(const char* name, int64_t value) {
  const int64_t columns = std::min<int64_t>((value + 31) / 32, 4);  // times 32
  return {std::string(name) + "_" + std::to_string(columns), 32, 128,
          static_cast<unsigned>((value + columns * 32 - 1) / (columns * 32))};
}

// In how many parts the columns of values are cut.
inline unsigned flash_parts(int64_t value) { return simt_flash_tiling("", value).parts; }

// The kernels of ops/attention/flash.cu: two halves of 64 keys and values stand in shared memory.
struct TensorFlashHeads {
  int64_t depth, value;
  int rows;
};
inline constexpr TensorFlashHeads kTensorFlash[] = {{64, 64, 64}, {80, 80, 64}, {128, 128, 64}, {192, 128, 128}};

inline std::optional<FlashTiling> tensor_flash_tiling(int64_t depth, int64_t value) {
  for (const TensorFlashHeads& h : kTensorFlash)
    if (h.depth == depth && h.value == value)
      return FlashTiling{"flash_tensor_" + std::to_string(depth) + "_" + std::to_string(value), h.rows,
                         static_cast<unsigned>(h.rows * 2), 1, static_cast<size_t>(2 * 64 * 2 * (depth + value))};
  return std::nullopt;
}

// Whether every row of every head begins at a multiple of the bytes of `elements`.
inline bool rows_aligned(const HeadRows& x, int64_t elements) {
  const int64_t bytes = x.bf16 ? 2 : 4;
  return x.row % elements == 0 && x.head % elements == 0 &&
         reinterpret_cast<uintptr_t>(x.data) % static_cast<uintptr_t>(elements * bytes) == 0;
}

// For operands of bf16 whose rows are aligned to 16 bytes and whose heads have an instance.
inline std::optional<FlashTiling> tensor_flash_tiling(const FlashParameters& p) {
  for (const HeadRows& x : {p.q, p.k, p.v})
    if (!x.bf16 || !rows_aligned(x, 8)) return std::nullopt;
  if (!p.out_bf16 || reinterpret_cast<uintptr_t>(p.out) % 16 != 0) return std::nullopt;
  return tensor_flash_tiling(p.depth, p.value);
}

inline FlashTiling flash_tiling(const FlashParameters& p) {
  return tensor_flash_tiling(p).value_or(simt_flash_tiling("flash_simt", p.value));
}

inline PackedRows packed_rows(const Tensor& starts, int64_t rows, Fault* fault) {
  return {starts.data<int>(), static_cast<int>(starts.shape[0] - 1), rows, fault};
}

// What check_starts says.
inline Error explain_starts(const char* op, const Fault& f, int64_t rows) {
  const int64_t start = static_cast<int32_t>(f.value), before = f.value >> 32;
  if (f.argument == kFirstStart) return first_start_error(op, start);
  if (f.argument == kStartOrder) return order_error(op, f.position, start, before);
  return last_start_error(op, f.position, start, rows);
}

inline void launch_flash(Cuda& cuda, FlashParameters p) {
  p.aligned =
      p.depth % 4 == 0 && p.value % 4 == 0 && rows_aligned(p.q, 4) && rows_aligned(p.k, 4) && rows_aligned(p.v, 4);
  const FlashTiling t = flash_tiling(p);
  const Grid grid{static_cast<unsigned>(flash_tiles(p.packed.rows, p.packed.sequences, t.rows)),
                  static_cast<unsigned>(p.heads), t.parts};
  cuda.launch({"attention", t.name}, grid, t.threads, t.shared_bytes, p);
}

}  // namespace caracal::cuda
