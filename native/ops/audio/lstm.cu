// The input half, x · wIh^T + bIh of all steps, is one product of linear's. The recurrent half is one launch: every block
// has some hidden units, whose rows of wHh (four gates each) it keeps in shared memory as far as there is room, and after
// each step all blocks wait for each other. 8 H^2 FLOP per step.
//
// At the model's size (H = 2304) wHh is 85 MB of f32 or 42 MB of bf16. Of that the shared memory of 108 multiprocessors
// with 163 KiB holds 18 MB: so a chunk reads those once, and the rest once per step, from the L2 if it has room for it.
// A step alone reads everything once: 4 or 2 bytes per product, memory-bound whatever is done.
#include "cuda/device/reduce.cuh"
#include "cuda/gemm/epilogue.cuh"
#include "cuda/ptx/sync.cuh"
#include "ops/audio/lstm.kernels.h"

namespace caracal {

// Four neighbouring elements per lane, 128 per warp and turn.
constexpr int kLstmLane = 4, kLstmTurn = kLstmLane * kWarp;

// h · w^T for the four gates of a unit, whose rows are `stride` elements apart; every lane gets its part. A lane has the
// same products in the same order wherever the rows are.
template <class W>
__device__ inline void gate_products(const float* h, const W* w, long long stride, int hidden, bool aligned,
                                     float (&sums)[4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp * kLstmLane;
  if (aligned) {
#pragma unroll 2
    for (int k = lane; k < hidden; k += kLstmTurn) {
      float hv[kLstmLane], wv[4][kLstmLane];
      load<kLstmLane>(h + k, hv);
#pragma unroll
      for (int gate = 0; gate < 4; gate++) load<kLstmLane>(w + gate * stride + k, wv[gate]);
#pragma unroll
      for (int gate = 0; gate < 4; gate++)
#pragma unroll
        for (int j = 0; j < kLstmLane; j++) sums[gate] = fmaf(wv[gate][j], hv[j], sums[gate]);
    }
  } else {
    for (int k = lane; k < hidden; k += kLstmTurn)
      for (int gate = 0; gate < 4; gate++)
        for (int j = k; j < min(k + kLstmLane, hidden); j++)
          sums[gate] = fmaf(to_float(w[gate * stride + j]), h[j], sums[gate]);
  }
}

__device__ inline float sigmoid(float v) { return activate(Activation::sigmoid, v); }

// All blocks have come here `turn` times.
__device__ inline void wait_for_all_blocks(unsigned* arrived, unsigned turn) {
  __syncthreads();
  if (threadIdx.x == 0) {
    ptx::add_release_gpu(arrived, 1);
    while (ptx::load_acquire_gpu(arrived) < turn * gridDim.x) {
    }
  }
  __syncthreads();
}

// One block's units, and what it has in shared memory.
template <class W>
struct LstmBlock {
  int first, units;
  float* h;     // [hidden] before the step
  float* sums;  // [4][units of a block], of the recurrent half
  W* kept;      // [kept units][4][hidden]

  __device__ LstmBlock(const LstmSteps& p, float* shared)
      : first(static_cast<int>(blockIdx.x) * p.units),
        units(min(p.units, p.hidden - first)),
        h(shared),
        sums(h + (p.hidden + 3) / 4 * 4),
        kept(reinterpret_cast<W*>(sums + 4 * p.units)) {}

  __device__ void keep(const LstmSteps& p) const {
    const int rows = 4 * min(p.kept, units), vector = p.aligned ? 16 / static_cast<int>(sizeof(W)) : 1;
    for (int row = 0; row < rows; row++) {
      const W* from =
          static_cast<const W*>(p.w) + (static_cast<long long>(row % 4) * p.hidden + first + row / 4) * p.hidden;
      W* to = kept + static_cast<long long>(row) * p.hidden;
      for (int i = static_cast<int>(threadIdx.x) * vector; i < p.hidden; i += static_cast<int>(blockDim.x) * vector) {
        if (p.aligned)
          *reinterpret_cast<uint4*>(to + i) = *reinterpret_cast<const uint4*>(from + i);
        else
          to[i] = from[i];
      }
    }
  }

  // `sums` from `now`, which other blocks wrote.
  __device__ void multiply(const LstmSteps& p, const float* now) const {
    for (int i = threadIdx.x; i < p.hidden; i += blockDim.x) h[i] = __ldcg(now + i);
    __syncthreads();
    const int warps = static_cast<int>(blockDim.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
    for (int unit = static_cast<int>(threadIdx.x) / kWarp; unit < units; unit += warps) {
      float v[4] = {};
      if (unit < p.kept) {
        gate_products(h, kept + static_cast<long long>(unit) * 4 * p.hidden, p.hidden, p.hidden, p.aligned, v);
      } else {
        const long long stride = static_cast<long long>(p.hidden) * p.hidden;
        gate_products(h, static_cast<const W*>(p.w) + static_cast<long long>(first + unit) * p.hidden, stride, p.hidden,
                      p.aligned, v);
      }
#pragma unroll
      for (int gate = 0; gate < 4; gate++) {
        const float sum = warp_sum(v[gate]);
        if (lane == gate) sums[gate * p.units + unit] = sum;
      }
    }
    __syncthreads();
  }
};

// c and h of a unit, a thread each.
template <class T>
__device__ inline void lstm_cell(const LstmSteps& p, int step, int unit, const float* sums, float* h_next) {
  float gate[4];
#pragma unroll
  for (int g = 0; g < 4; g++) {
    float bias[1] = {};
    add<1>(p.b_hh, g * p.hidden + unit, bias);
    gate[g] = sums[g * p.units] + (p.input[(static_cast<long long>(step) * 4 + g) * p.hidden + unit] + bias[0]);
  }
  const float cell = fmaf(sigmoid(gate[1]), p.c[unit], sigmoid(gate[0]) * tanhf(gate[2]));
  const float value = sigmoid(gate[3]) * tanhf(cell);
  p.c[unit] = cell;
  h_next[unit] = value;
  static_cast<T*>(p.y)[static_cast<long long>(step) * p.hidden + unit] = from_float<T>(value);
}

// With more than one step all blocks must be there at once.
template <class T, class W>
__device__ inline void lstm(const LstmSteps& p) {
  extern __shared__ __align__(16) float shared[];
  const LstmBlock<W> block(p, shared);
  block.keep(p);
  for (int step = 0; step < p.steps; step++) {
    block.multiply(p, p.h[step % 2]);
    const int unit = static_cast<int>(threadIdx.x);
    if (unit < block.units)
      lstm_cell<T>(p, step, block.first + unit, block.sums + unit, step + 1 < p.steps ? p.h[(step + 1) % 2] : p.h_end);
    if (step + 1 < p.steps) wait_for_all_blocks(p.arrived, step + 1);
  }
}

#define CARACAL_LSTM(T, W)                                                                                          \
  CARACAL_KERNEL(kLstm, lstm_##T##_##W, __launch_bounds__(kLstmMostThreads), const __grid_constant__ LstmSteps p) { \
    lstm<T, W>(p);                                                                                                  \
  }
CARACAL_LSTM(f32, f32)
CARACAL_LSTM(f32, bf16)
CARACAL_LSTM(bf16, f32)
CARACAL_LSTM(bf16, bf16)
#undef CARACAL_LSTM

}  // namespace caracal
