// A convolution with one tap computes the input half, x · wIh^T + bIh for all steps. The recurrent half is one launch:
// every block owns a few hidden units and caches as many of their rows of wHh (four gates each) in shared memory as fit,
// and after each step all blocks wait for each other. 8 H^2 FLOP per step.
//
// At the model's size (H = 2304), wHh is 85 MB of f32 or 42 MB of bf16. The shared memory of 108 multiprocessors with
// 163 KiB each holds 18 MB of it, so a launch reads those rows once and the others once per step, from L2 if they fit
// there. A single step reads everything once: it is memory-bound at 4 or 2 bytes per product. So is a step of several
// streams: a block goes through them while its rows of wHh are in its multiprocessor's L1 cache.
#include "cuda/device/index.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/gemm/epilogue.cuh"
#include "cuda/ptx/sync.cuh"
#include "ops/audio/lstm.kernels.h"

namespace caracal {

constexpr int kLstmLane = 4;                  // neighbouring elements that a lane multiplies at once
constexpr int kLstmWarp = kLstmLane * kWarp;  // of a warp
static_assert(kLstmMaxThreads % kWarp == 0, "a warp computes the gates of a unit");

// h · w^T for the four gates of a unit, whose rows are `stride` elements apart; every lane gets a part of each sum. Its
// products and their order do not depend on where the rows are.
template <class W>
__device__ inline void gate_products(const float* h, const W* w, long long stride, int hidden, bool aligned,
                                     float (&sums)[4]) {
  const int lane = lane_index() * kLstmLane;
  if (aligned) {
#pragma unroll 2
    for (int k = lane; k < hidden; k += kLstmWarp) {
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
    for (int k = lane; k < hidden; k += kLstmWarp)
      for (int gate = 0; gate < 4; gate++)
        for (int j = k; j < min(k + kLstmLane, hidden); j++)
          sums[gate] = fmaf(to_float(w[gate * stride + j]), h[j], sums[gate]);
  }
}

__device__ inline float sigmoid(float v) { return activate(Activation::sigmoid, v); }

// Returns once all blocks have called it `times` times.
__device__ inline void wait_for_all_blocks(unsigned* arrived, unsigned times) {
  __syncthreads();
  if (threadIdx.x == 0) {
    ptx::add_release_gpu(arrived, 1);
    while (ptx::load_acquire_gpu(arrived) < times * gridDim.x) {
    }
  }
  __syncthreads();
}

// A block's units and its shared memory.
template <class W>
struct LstmBlock {
  int first, units;
  float* h;     // [hidden], before the step
  float* sums;  // [4][units per block], of the recurrent half
  W* cached;    // [cached units][4][hidden]

  __device__ LstmBlock(const LstmSteps& p, float* shared)
      : first(block_x() * p.units),
        units(min(p.units, p.hidden - first)),
        h(shared),
        sums(h + lstm_h_floats(p.hidden)),
        cached(reinterpret_cast<W*>(sums + lstm_sum_floats(p.units))) {}

  __device__ void load_cache(const LstmSteps& p) const {
    const int rows = 4 * min(p.cached_units, units), vector = p.aligned ? 16 / static_cast<int>(sizeof(W)) : 1;
    for (int row = 0; row < rows; row++) {
      const W* from =
          static_cast<const W*>(p.w) + (static_cast<long long>(row % 4) * p.hidden + first + row / 4) * p.hidden;
      W* to = cached + static_cast<long long>(row) * p.hidden;
      for (int i = thread_index() * vector; i < p.hidden; i += thread_count() * vector) {
        if (p.aligned)
          *reinterpret_cast<uint4*>(to + i) = *reinterpret_cast<const uint4*>(from + i);
        else
          to[i] = from[i];
      }
    }
  }

  // Computes `sums` from h_now, which other blocks wrote.
  __device__ void multiply(const LstmSteps& p, const float* h_now) const {
    for (int i = threadIdx.x; i < p.hidden; i += blockDim.x) h[i] = __ldcg(h_now + i);
    __syncthreads();
    const int warps = warp_count(), lane = lane_index();
    for (int unit = warp_index(); unit < units; unit += warps) {
      float v[4] = {};
      if (unit < p.cached_units) {
        gate_products(h, cached + static_cast<long long>(unit) * 4 * p.hidden, p.hidden, p.hidden, p.aligned, v);
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

// Computes c and h of one unit. A block has at least as many threads as units.
template <class T>
__device__ inline void lstm_cell(const LstmSteps& p, int step, int unit, const float* sums, float* c, float* h_next) {
  float gate[4];
#pragma unroll
  for (int g = 0; g < 4; g++) {
    float bias[1] = {};
    add<1>(p.b_hh, g * p.hidden + unit, bias);
    gate[g] = sums[g * p.units] + (p.input[(static_cast<long long>(step) * 4 + g) * p.hidden + unit] + bias[0]);
  }
  const float cell = fmaf(sigmoid(gate[1]), c[unit], sigmoid(gate[0]) * tanhf(gate[2]));
  const float value = sigmoid(gate[3]) * tanhf(cell);
  c[unit] = cell;
  h_next[unit] = value;
  static_cast<T*>(p.y)[static_cast<long long>(step) * p.hidden + unit] = from_float<T>(value);
}

// With more than one step, all blocks must run at once.
template <class T, class W>
__device__ inline void lstm(const LstmSteps& p) {
  extern __shared__ __align__(16) float shared[];
  const LstmBlock<W> block(p, shared);
  block.load_cache(p);
  for (int step = 0; step < p.steps; step++) {
    block.multiply(p, p.h[step % 2]);
    const int unit = thread_index();
    if (unit < block.units)
      lstm_cell<T>(p, step, block.first + unit, block.sums + unit, p.c,
                   step + 1 < p.steps ? p.h[(step + 1) % 2] : p.h_end);
    if (step + 1 < p.steps) wait_for_all_blocks(p.arrived, step + 1);
  }
}

// A step of each stream. They wait for nothing: each has its own h and c.
template <class T, class W>
__device__ inline void lstm_streams(const LstmSteps& p) {
  extern __shared__ __align__(16) float shared[];
  const LstmBlock<W> block(p, shared);
  for (int stream = 0; stream < p.steps; stream++) {
    const int own = stream * p.hidden;
    block.multiply(p, p.h[0] + own);
    const int unit = thread_index();
    if (unit < block.units) lstm_cell<T>(p, stream, block.first + unit, block.sums + unit, p.c + own, p.h_end + own);
  }
}

#define CARACAL_LSTM(kernel, function, T, W)                                       \
  CARACAL_KERNEL(kernel, function##_##T##_##W, __launch_bounds__(kLstmMaxThreads), \
                 const __grid_constant__ LstmSteps p) {                            \
    function<T, W>(p);                                                             \
  }
#define CARACAL_LSTM_ENTRIES(T, W) \
  CARACAL_LSTM(kLstm, lstm, T, W)  \
  CARACAL_LSTM(kLstmStreams, lstm_streams, T, W)
CARACAL_LSTM_ENTRIES(f32, f32)
CARACAL_LSTM_ENTRIES(f32, bf16)
CARACAL_LSTM_ENTRIES(bf16, f32)
CARACAL_LSTM_ENTRIES(bf16, bf16)
#undef CARACAL_LSTM_ENTRIES
#undef CARACAL_LSTM

}  // namespace caracal
