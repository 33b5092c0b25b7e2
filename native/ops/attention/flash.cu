// The kernels of attention over keys and values that stand in rows: attention, vitAttention, mlaPrefill. 2 (depth + value)
// FLOP for every query, key that it sees and head; bytes at least q, k, v and o once. At the model's sizes: of vision (16
// heads of 80, 1024 patches) 5.4 GFLOP and 10.5 MB; of the language model (64 heads of 192 and 128, 8192 tokens, causal)
// 1.4 TFLOP and 0.67 GB: arithmetic rules. A block has a tile of one head's queries (64; 128 of the language model), and
// reads all the keys and values that they see, which other tiles have brought into the L2.
#include "ops/attention/flash_simt.cuh"
#include "ops/attention/flash_tensor.cuh"
#include "ops/attention/sequences.cuh"

namespace caracal {

// --- exact f32 ------------------------------------------------------------------------------------------------------

// Where the sums of one row of a head stand between two chunks of keys. Every block that has some of the columns keeps
// the row's maximum and sum for itself.
struct KeptSums {
  float* o;
  float* scales;
};
__device__ inline KeptSums kept_sums(const FlashParameters& p, long long row) {
  const long long at = row * p.heads + blockIdx.y;
  return {p.chunk.sums + at * p.value, p.chunk.scales + (at * gridDim.z + blockIdx.z) * 2};
}

template <int Columns>
__device__ inline void resume(const FlashParameters& p, const FlashTile& t, int column, SimtFlashSums<Columns>& sums) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp,
            first = static_cast<int>(threadIdx.x) / kWarp * SimtFlash::kRowsEach;
#pragma unroll
  for (int r = 0; r < SimtFlash::kRowsEach; r++) {
    if (first + r >= t.rows) break;
    const KeptSums kept = kept_sums(p, t.row + first + r);
    sums.max[r] = kept.scales[0];
    sums.sum[r] = kept.scales[1];
#pragma unroll
    for (int c = 0; c < Columns; c++)
      if (const int i = column + c * kWarp + lane; i < p.value) sums.o[r][c] = kept.o[i];
  }
}

template <int Columns>
__device__ inline void keep(const FlashParameters& p, const FlashTile& t, int column,
                            const SimtFlashSums<Columns>& sums) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp,
            first = static_cast<int>(threadIdx.x) / kWarp * SimtFlash::kRowsEach;
#pragma unroll
  for (int r = 0; r < SimtFlash::kRowsEach; r++) {
    if (first + r >= t.rows) break;
    const KeptSums kept = kept_sums(p, t.row + first + r);
    if (lane == 0) {
      kept.scales[0] = sums.max[r];
      kept.scales[1] = sums.sum[r];
    }
#pragma unroll
    for (int c = 0; c < Columns; c++)
      if (const int i = column + c * kWarp + lane; i < p.value) kept.o[i] = sums.o[r][c];
  }
}

template <int Columns>
__device__ inline void finish(const FlashParameters& p, const FlashTile& t, int column,
                              const SimtFlashSums<Columns>& sums) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp,
            first = static_cast<int>(threadIdx.x) / kWarp * SimtFlash::kRowsEach;
#pragma unroll
  for (int r = 0; r < SimtFlash::kRowsEach; r++) {
    if (first + r >= t.rows) break;
    const float by = sums.sum[r] == 0 ? 0.0f : 1.0f / sums.sum[r];
    const long long at = ((t.row + first + r) * p.heads + blockIdx.y) * p.value;
#pragma unroll
    for (int c = 0; c < Columns; c++) {
      const float v[1] = {sums.o[r][c] * by};
      if (const int i = column + c * kWarp + lane; i < p.value) store_as<1>(p.out_bf16, p.out, at + i, v);
    }
  }
}

__device__ inline const void* row_of(const HeadRows& x, long long row) {
  const long long at = row * x.row + blockIdx.y * x.head;
  return static_cast<const char*>(x.data) + at * (x.bf16 ? 2 : 4);
}

// Block (tile of queries, head, columns of the values).
template <int Columns>
__device__ inline void flash_simt(const FlashParameters& p) {
  __shared__ SimtFlashMemory<Columns> memory;
  const FlashTile t = flash_tile<SimtFlash::kRows>(p);
  if (t.rows == 0) return;
  const int column = static_cast<int>(blockIdx.z) * Columns * kWarp;
  auto q = [&](int r) { return r < t.rows ? row_of(p.q, t.row + r) : nullptr; };
  auto k = [&](int i) { return row_of(p.k, t.key + i); };
  auto v = [&](int i) { return row_of(p.v, t.key + i); };
  SimtFlashSums<Columns> sums;
  sums.clear();
  if (!t.begins) resume(p, t, column, sums);
  attend(memory,
         SimtFlashOperands<decltype(q), decltype(k), decltype(v)>{q, k, v, p.q.bf16, p.k.bf16, p.v.bf16, p.aligned,
                                                                  p.depth, p.value, column, p.scale},
         t.keys, t.visible, p.causal, sums);
  if (t.ends)
    finish(p, t, column, sums);
  else
    keep(p, t, column, sums);
}

#define CARACAL_FLASH_SIMT(Columns)                                                           \
  CARACAL_KERNEL(kFlashSimt, flash_simt_##Columns, __launch_bounds__(SimtFlash::kThreads, 2), \
                 const __grid_constant__ FlashParameters p) {                                 \
    flash_simt<Columns>(p);                                                                   \
  }
CARACAL_FLASH_SIMT(1)
CARACAL_FLASH_SIMT(2)
CARACAL_FLASH_SIMT(3)
CARACAL_FLASH_SIMT(4)
static_assert(SimtFlash::kMaxColumns == 4, "an entry for every number of columns");
#undef CARACAL_FLASH_SIMT

// --- tensor cores ---------------------------------------------------------------------------------------------------

// Calls fn(half, row) for the two rows of the tile that the lane knows of, those that are there.
template <class Fn>
__device__ inline void lane_rows(const FlashTile& t, Fn fn) {
  const int first = static_cast<int>(threadIdx.x) / kWarp * 16 + static_cast<int>(threadIdx.x) % kWarp / 4;
#pragma unroll
  for (int half = 0; half < 2; half++)
    if (first + 8 * half < t.rows) fn(half, t.row + first + 8 * half);
}

template <int Tiles>
__device__ inline void resume(const FlashParameters& p, const FlashTile& t, TensorSums16<Tiles>& sums) {
  const int column = static_cast<int>(threadIdx.x) % 4 * 2;
  lane_rows(t, [&](int half, long long row) {
    const KeptSums kept = kept_sums(p, row);
    sums.max[half] = kept.scales[0];
    sums.sum[half] = kept.scales[1];
#pragma unroll
    for (int i = 0; i < Tiles; i++) {
      const float2 v = *reinterpret_cast<const float2*>(kept.o + i * 8 + column);
      sums.o[i][2 * half] = v.x;
      sums.o[i][2 * half + 1] = v.y;
    }
  });
}

template <int Tiles>
__device__ inline void keep(const FlashParameters& p, const FlashTile& t, const TensorSums16<Tiles>& sums) {
  const int column = static_cast<int>(threadIdx.x) % 4 * 2;
  lane_rows(t, [&](int half, long long row) {
    const KeptSums kept = kept_sums(p, row);
    if (column == 0) *reinterpret_cast<float2*>(kept.scales) = {sums.max[half], sums.sum[half]};
#pragma unroll
    for (int i = 0; i < Tiles; i++)
      *reinterpret_cast<float2*>(kept.o + i * 8 + column) = {sums.o[i][2 * half], sums.o[i][2 * half + 1]};
  });
}

// Block (tile of queries, head).
template <class Flash>
__device__ inline void flash_tensor(const FlashParameters& p) {
  extern __shared__ __align__(128) uint8_t ring[];
  const FlashTile t = flash_tile<Flash::kRows>(p);
  if (t.rows == 0) return;
  typename Flash::Sums sums;
  if (!t.begins) resume(p, t, sums);
  Flash::attend(
      ring, [&](int r) { return r < t.rows ? row_of(p.q, t.row + r) : nullptr; },
      [&](int i) { return row_of(p.k, t.key + i); }, [&](int i) { return row_of(p.v, t.key + i); }, p.q.data, t.keys,
      t.visible, p.causal, p.scale, sums);
  if (t.ends)
    Flash::finish(ring, sums, [&](int r) {
      const long long at = ((t.row + r) * p.heads + blockIdx.y) * p.value;
      return r < t.rows ? static_cast<bf16*>(p.out) + at : nullptr;
    });
  else
    keep(p, t, sums);
}

#define CARACAL_FLASH_TENSOR(Shape, shape)                                                                  \
  static_assert(std::string_view(Shape.name) == #shape, "the host launches this shape under another name"); \
  CARACAL_KERNEL(kFlashTensor, flash_tensor_##shape, __launch_bounds__(Shape.threads(), Shape.blocks),      \
                 const __grid_constant__ FlashParameters p) {                                               \
    flash_tensor<TensorFlash<Shape>>(p);                                                                    \
  }
CARACAL_FLASH_TENSOR(kTensorFlashShapes[0], 64_64)
CARACAL_FLASH_TENSOR(kTensorFlashShapes[1], 80_80)
CARACAL_FLASH_TENSOR(kTensorFlashShapes[2], 128_128)
CARACAL_FLASH_TENSOR(kTensorFlashShapes[3], 192_128)
static_assert(std::size(kTensorFlashShapes) == 4, "an entry for every shape");
#undef CARACAL_FLASH_TENSOR

}  // namespace caracal
