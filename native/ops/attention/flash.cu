// FlashAttention over packed sequences with keys and values in rows, for attention, vitAttention and mlaPrefill. It
// takes 2 (qk_dim + v_dim) FLOP for each head, query and key that the query attends to, and at least the bytes of q, k,
// v and o once. At the model's sizes it is compute-bound: 5.4 GFLOP and 10.5 MB for vision (16 heads of 80, 1024
// patches), 1.4 TFLOP and 0.67 GB for language (64 heads of 192 and 128, 8192 tokens, causal). A block has a tile of
// one head's queries (64, or 128 for the language model) and reads all keys and values that they attend to, which the
// blocks of other tiles keep in L2.
#include "ops/attention/flash_scheduler.cuh"
#include "ops/attention/flash_simt.cuh"
#include "ops/attention/flash_tensor.cuh"

namespace caracal {

// The softmax state of one row and head, saved between chunks of keys. If several blocks share the columns of the
// values, each saves the maximum and the sum for itself.
struct SavedState {
  float* o;
  float* stats;
};
__device__ inline SavedState saved_state(const FlashParameters& p, long long row) {
  const long long at = row * p.heads + blockIdx.y;
  return {p.chunk.sums + at * p.v_dim, p.chunk.stats + (at * gridDim.z + blockIdx.z) * 2};
}

__device__ inline const void* head_row(const HeadRows& x, long long row) {
  const long long at = row * x.row_stride + blockIdx.y * x.head_stride;
  return static_cast<const char*>(x.data) + at * (x.bf16 ? 2 : 4);
}

// --- exact f32 ------------------------------------------------------------------------------------------------------

template <int Columns>
__device__ inline void load_state(const FlashParameters& p, const FlashTile& t, int column,
                                  SimtFlashState<Columns>& state) {
  const int lane = lane_index(), first = warp_index() * SimtFlash::kWarpRows;
#pragma unroll
  for (int r = 0; r < SimtFlash::kWarpRows; r++) {
    if (first + r >= t.rows) break;
    const long long row = t.row + first + r;
    const SavedState saved = saved_state(p, row);
    state.max[r] = saved.stats[0];
    state.sum[r] = saved.stats[1];
#pragma unroll
    for (int c = 0; c < Columns; c++)
      if (const int i = column + c * kWarp + lane; i < p.v_dim) state.o[r][c] = saved.o[i];
  }
}

template <int Columns>
__device__ inline void save_state(const FlashParameters& p, const FlashTile& t, int column,
                                  const SimtFlashState<Columns>& state) {
  const int lane = lane_index(), first = warp_index() * SimtFlash::kWarpRows;
#pragma unroll
  for (int r = 0; r < SimtFlash::kWarpRows; r++) {
    if (first + r >= t.rows) break;
    const long long row = t.row + first + r;
    const SavedState saved = saved_state(p, row);
    if (lane == 0) {
      saved.stats[0] = state.max[r];
      saved.stats[1] = state.sum[r];
    }
#pragma unroll
    for (int c = 0; c < Columns; c++)
      if (const int i = column + c * kWarp + lane; i < p.v_dim) saved.o[i] = state.o[r][c];
  }
}

template <int Columns>
__device__ inline void finish(const FlashParameters& p, const FlashTile& t, int column,
                              const SimtFlashState<Columns>& state) {
  const int lane = lane_index(), first = warp_index() * SimtFlash::kWarpRows;
#pragma unroll
  for (int r = 0; r < SimtFlash::kWarpRows; r++) {
    if (first + r >= t.rows) break;
    const long long row = t.row + first + r;
    const float factor = state.sum[r] == 0 ? 0.0f : 1.0f / state.sum[r];
    const long long at = (row * p.heads + blockIdx.y) * p.v_dim;
#pragma unroll
    for (int c = 0; c < Columns; c++) {
      const float v[1] = {state.o[r][c] * factor};
      if (const int i = column + c * kWarp + lane; i < p.v_dim) store_as<1>(p.out_bf16, p.out, at + i, v);
    }
  }
}

// Block (tile of queries, head, part of the values' columns).
template <int Columns>
__device__ inline void flash_simt(const FlashParameters& p) {
  __shared__ SimtFlashMemory<Columns> memory;
  const FlashTile t = flash_tile<SimtFlash::kRows>(p);
  if (t.rows == 0) return;
  const int column = block_z() * Columns * kWarp;
  auto q = [&](int r) { return r < t.rows ? head_row(p.q, t.row + r) : nullptr; };
  auto k = [&](int i) { return head_row(p.k, t.key + i); };
  auto v = [&](int i) { return head_row(p.v, t.key + i); };
  SimtFlashState<Columns> state;
  state.clear();
  if (!t.is_first) load_state(p, t, column, state);
  attend(memory,
         SimtFlashOperands<decltype(q), decltype(k), decltype(v)>{q, k, v, p.q.bf16, p.k.bf16, p.v.bf16, p.aligned,
                                                                  p.qk_dim, p.v_dim, column, p.scale},
         t.keys, t.visible, p.causal, state);
  if (t.is_last)
    finish(p, t, column, state);
  else
    save_state(p, t, column, state);
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
#undef CARACAL_FLASH_SIMT
static_assert(SimtFlash::kMaxColumns == 4, "every number of columns has an entry");

// --- tensor cores ---------------------------------------------------------------------------------------------------

// fn(half, row) for the lane's two rows, as far as the tile has them; `row` is a row of q.
template <class Fn>
__device__ inline void each_lane_row(const FlashTile& t, Fn fn) {
  const int first = warp_index() * 16 + lane_index() / 4;
#pragma unroll
  for (int half = 0; half < 2; half++)
    if (first + 8 * half < t.rows) fn(half, t.row + first + 8 * half);
}

template <int Tiles>
__device__ inline void load_state(const FlashParameters& p, const FlashTile& t, TensorFlashState<Tiles>& state) {
  const int column = thread_index() % 4 * 2;
  each_lane_row(t, [&](int half, long long row) {
    const SavedState saved = saved_state(p, row);
    state.max[half] = saved.stats[0];
    state.sum[half] = saved.stats[1];
#pragma unroll
    for (int i = 0; i < Tiles; i++) {
      const float2 v = *reinterpret_cast<const float2*>(saved.o + i * 8 + column);
      state.o[i][2 * half] = v.x;
      state.o[i][2 * half + 1] = v.y;
    }
  });
}

template <int Tiles>
__device__ inline void save_state(const FlashParameters& p, const FlashTile& t, const TensorFlashState<Tiles>& state) {
  const int column = thread_index() % 4 * 2;
  each_lane_row(t, [&](int half, long long row) {
    const SavedState saved = saved_state(p, row);
    if (column == 0) *reinterpret_cast<float2*>(saved.stats) = {state.max[half], state.sum[half]};
#pragma unroll
    for (int i = 0; i < Tiles; i++)
      *reinterpret_cast<float2*>(saved.o + i * 8 + column) = {state.o[i][2 * half], state.o[i][2 * half + 1]};
  });
}

// Block (tile of queries, head).
template <class Flash>
__device__ inline void flash_tensor(const FlashParameters& p) {
  extern __shared__ __align__(128) uint8_t shared[];
  const FlashTile t = flash_tile<Flash::kRows>(p);
  if (t.rows == 0) return;
  typename Flash::State state;
  if (!t.is_first) load_state(p, t, state);
  Flash::attend(
      shared, [&](int r) { return r < t.rows ? head_row(p.q, t.row + r) : nullptr; },
      [&](int i) { return head_row(p.k, t.key + i); }, [&](int i) { return head_row(p.v, t.key + i); }, p.q.data,
      t.keys, t.visible, p.causal, p.scale, state);
  if (t.is_last)
    Flash::finish(shared, state, [&](int r) {
      const long long at = ((t.row + r) * p.heads + blockIdx.y) * p.v_dim;
      return r < t.rows ? static_cast<bf16*>(p.out) + at : nullptr;
    });
  else
    save_state(p, t, state);
}

#define CARACAL_FLASH_TENSOR(Shape, shape)                                                                  \
  static_assert(std::string_view(Shape.name) == #shape, "the host launches this shape under another name"); \
  CARACAL_KERNEL(kFlashTensor, flash_tensor_##shape, __launch_bounds__(Shape.threads(), Shape.min_blocks),  \
                 const __grid_constant__ FlashParameters p) {                                               \
    flash_tensor<TensorFlash<Shape>>(p);                                                                    \
  }
CARACAL_FLASH_TENSOR(kTensorFlashShapes[0], 64_64)
CARACAL_FLASH_TENSOR(kTensorFlashShapes[1], 80_80)
CARACAL_FLASH_TENSOR(kTensorFlashShapes[2], 128_128)
CARACAL_FLASH_TENSOR(kTensorFlashShapes[3], 192_128)
#undef CARACAL_FLASH_TENSOR
static_assert(std::size(kTensorFlashShapes) == 4, "every shape has an entry");

}  // namespace caracal
