#pragma once
// Which kernel attends and how many blocks of it.
#include <cmath>
#include <optional>

#include "core/math.h"
#include "cuda/implement.h"
#include "ops/attention/flash.kernels.h"
#include "ops/attention/sequences.h"

namespace caracal::cuda {

constexpr double kLog2E = 1.4426950408889634;

inline float score_scale(std::optional<double> scale, int64_t depth) {
  return static_cast<float>(kLog2E * scale.value_or(1 / std::sqrt(static_cast<double>(depth))));
}

// Tiles of so many rows, whatever the sequences (sequences.cuh); one at least, which looks at where sequences start.
inline int64_t flash_tiles(int64_t rows, int64_t sequences, int64_t tile_rows) {
  return rows / tile_rows + std::max<int64_t>(sequences, 1);
}

// How the columns of values are cut in exact f32: into `parts` blocks, a lane of which has `each`.
struct SimtFlashColumns {
  int64_t each, parts;
};
inline SimtFlashColumns simt_flash_columns(int64_t value) {
  const int64_t each = std::min<int64_t>(divide_up(value, 32), SimtFlashTile::kMaxColumns);
  return {each, divide_up(value, each * 32)};
}

// The tensor cores' tile for such heads, if there is an instance.
inline const TensorFlashShape* tensor_flash_shape(int64_t depth, int64_t value) {
  for (const TensorFlashShape& shape : kTensorFlashShapes)
    if (shape.depth == depth && shape.value == value) return &shape;
  return nullptr;
}

// Whether every row of every head begins at a multiple of the bytes of `elements`.
inline bool rows_aligned(const HeadRows& x, int64_t elements) {
  const int64_t bytes = x.bf16 ? 2 : 4;
  return x.row % elements == 0 && x.head % elements == 0 &&
         reinterpret_cast<uintptr_t>(x.data) % static_cast<uintptr_t>(elements * bytes) == 0;
}

// For operands of bf16 whose rows are aligned to 16 bytes and whose heads have an instance.
inline const TensorFlashShape* tensor_flash_shape(const FlashParameters& p) {
  for (const HeadRows& x : {p.q, p.k, p.v})
    if (!x.bf16 || !rows_aligned(x, 8)) return nullptr;
  if (!p.out_bf16 || reinterpret_cast<uintptr_t>(p.out) % 16 != 0) return nullptr;
  return tensor_flash_shape(p.depth, p.value);
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
  auto grid = [&](int rows, int64_t parts) {
    return Grid{static_cast<unsigned>(flash_tiles(p.packed.rows, p.packed.sequences, rows)),
                static_cast<unsigned>(p.heads), static_cast<unsigned>(parts)};
  };
  if (const TensorFlashShape* shape = tensor_flash_shape(p)) {
    cuda.launch(entry_of(kFlashTensor, shape->name),
                {grid(shape->rows(), 1), static_cast<unsigned>(shape->threads()), shape->shared_bytes()}, p);
  } else {
    const SimtFlashColumns columns = simt_flash_columns(p.value);
    cuda.launch(entry_of(kFlashSimt, columns.each),
                {grid(SimtFlashTile::kRows, columns.parts), SimtFlashTile::kThreads}, p);
  }
}

}  // namespace caracal::cuda
