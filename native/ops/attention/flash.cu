// The kernels of attention over keys and values that stand in rows: attention, vitAttention, mlaPrefill.
#include "cuda/attention/sequences.cuh"
#include "cuda/attention/simt.cuh"

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

#define CARACAL_FLASH_SIMT(Columns)                                     \
  extern "C" __global__ void __launch_bounds__(SimtFlash::kThreads, 2)  \
      flash_simt_##Columns(const __grid_constant__ FlashParameters p) { \
    flash_simt<Columns>(p);                                             \
  }
CARACAL_FLASH_SIMT(1)
CARACAL_FLASH_SIMT(2)
CARACAL_FLASH_SIMT(3)
CARACAL_FLASH_SIMT(4)
#undef CARACAL_FLASH_SIMT

}  // namespace caracal
