#pragma once
// The launch of FlashAttention over packed sequences, and how its work is divided: pure functions of sizes. None of
// them affects bits.
#include <algorithm>

#include "core/math.h"
#include "cuda/implement.h"
#include "ops/attention/cu_seqlens.h"
#include "ops/attention/faults.kernels.h"
#include "ops/attention/flash.kernels.h"
#include "ops/attention/head_dim.h"

namespace caracal::cuda {

// Tiles of queries, enough wherever sequences start (flash_scheduler.cuh). There is at least one: its block checks
// cuSeqlens.
inline int64_t flash_tiles(int64_t rows, int64_t sequences, int64_t tile_rows) {
  return rows / tile_rows + std::max<int64_t>(sequences, 1);
}

// The columns of the values in exact f32: `parts` blocks per tile of queries, with `per_lane` columns to a lane.
struct SimtFlashColumns {
  int64_t per_lane, parts;
};
inline SimtFlashColumns simt_flash_columns(int64_t v_dim) {
  const int64_t per_lane = std::min<int64_t>(divide_up(v_dim, 32), SimtFlashTile::kMaxColumns);
  return {per_lane, divide_up(v_dim, per_lane * 32)};
}

// The tensor cores' tile for heads of these dimensions, or null.
inline const TensorFlashShape* tensor_flash_shape(int64_t qk_dim, int64_t v_dim) {
  for (const TensorFlashShape& shape : kTensorFlashShapes)
    if (shape.qk_dim == qk_dim && shape.v_dim == v_dim) return &shape;
  return nullptr;
}

// True if every row of every head starts at a multiple of `elements` elements, so that they can be moved together.
inline bool rows_aligned(const HeadRows& x, int64_t elements) {
  const int64_t bytes = x.bf16 ? 2 : 4;
  return x.row_stride % elements == 0 && x.head_stride % elements == 0 &&
         reinterpret_cast<uintptr_t>(x.data) % uintptr_t(elements * bytes) == 0;
}

// The tensor cores take bf16 with rows aligned to 16 bytes; null for other operands.
inline const TensorFlashShape* tensor_flash_shape(const FlashParameters& p) {
  for (const HeadRows& x : {p.q, p.k, p.v})
    if (!x.bf16 || !rows_aligned(x, 8)) return nullptr;
  if (!p.out_bf16 || reinterpret_cast<uintptr_t>(p.out) % 16 != 0) return nullptr;
  return tensor_flash_shape(p.qk_dim, p.v_dim);
}

inline PackedRows packed_rows(const Tensor& cu_seqlens, int64_t rows, Fault* fault) {
  return {cu_seqlens.data<int>(), int(cu_seqlens.shape[0] - 1), rows, fault};
}

// The error of a fault in cuSeqlens, as cu_seqlens.cuh raises it.
inline Error explain_cu_seqlens(const char* op, const Fault& f, int64_t rows) {
  const int64_t start = int32_t(f.value), previous = f.value >> 32;
  if (f.argument == kBadFirstStart) return first_start_error(op, start);
  if (f.argument == kBadStartOrder) return start_order_error(op, f.position, start, previous);
  return last_start_error(op, f.position, start, rows);
}

inline void launch_flash(Cuda& cuda, FlashParameters p) {
  p.aligned =
      p.qk_dim % 4 == 0 && p.v_dim % 4 == 0 && rows_aligned(p.q, 4) && rows_aligned(p.k, 4) && rows_aligned(p.v, 4);
  auto grid = [&](int tile_rows, int64_t parts) {
    return Grid{unsigned(flash_tiles(p.packed.rows, p.packed.sequences, tile_rows)), unsigned(p.heads),
                unsigned(parts)};
  };
  if (const TensorFlashShape* shape = tensor_flash_shape(p)) {
    cuda.launch(entry_of(kFlashTensor, shape->name),
                {grid(shape->rows(), 1), unsigned(shape->threads()), shape->shared_bytes()}, p);
  } else {
    const SimtFlashColumns columns = simt_flash_columns(p.v_dim);
    cuda.launch(entry_of(kFlashSimt, columns.per_lane),
                {grid(SimtFlashTile::kRows, columns.parts), SimtFlashTile::kThreads}, p);
  }
}

}  // namespace caracal::cuda
