#pragma once
// sum[t, c] = sum over k of weight[c, k] · x[t · stride + offset(k), c], for FSMN memories and depthwise convolutions.
//
// A block has 64 channels of up to some hundred rows: their input, and the rows around it that the taps reach, stand in
// shared memory, so that x is read once but for those rows. Memory-bound: 2 K FLOP per element against the 4 or 8 bytes
// of reading one and writing one.
#include "cuda/device/element.cuh"
#include "ops/audio/depthwise.kernels.h"
#include "ops/audio/time_rows.kernels.h"

namespace caracal {

// The taps' weights of `channels` channels from `first` on, in shared memory as f32.
struct TapWeights {
  int count, pitch;

  // Odd: lanes with neighbouring channels meet no common bank.
  __device__ explicit TapWeights(int count) : count(count), pitch(count | 1) {}
  template <class W>
  __device__ void stage(float* to, const W* weight, int first, int channels) const {
    for (int i = threadIdx.x; i < channels * count; i += blockDim.x)
      to[i / count * pitch + i % count] = to_float(weight[static_cast<long long>(first) * count + i]);
  }
};

// Taps have count() and offset(k), ascending. finish(row, channel, sum) takes what is summed.
template <class T, class W, class Taps, class Finish>
__device__ inline void depthwise(const TimeRows<T>& x, const W* weight, const Taps& taps, int stride,
                                 const DepthwiseBlock& block, Finish finish) {
  extern __shared__ __align__(16) float shared[];
  const int count = taps.count();
  const TapWeights weights(count);
  float* const w = shared;
  T* const tile = reinterpret_cast<T*>(shared + kDepthwiseChannels * weights.pitch);
  const int first = static_cast<int>(blockIdx.y) * kDepthwiseChannels;
  const int channels = min(kDepthwiseChannels, x.channels - first);
  const long long begin = static_cast<long long>(blockIdx.x) * block.rows;
  const int here = static_cast<int>(min(static_cast<long long>(block.rows), block.total - begin));
  const long long low = taps.offset(0), from = begin * stride + low;

  weights.stage(w, weight, first, channels);
  if (block.stage) {
    const int rows = (here - 1) * stride + static_cast<int>(taps.offset(count - 1) - low) + 1;
    for (int i = threadIdx.x; i < rows * kDepthwiseChannels; i += kDepthwiseThreads) {
      const int c = i % kDepthwiseChannels;
      const T* row = c < channels ? x.at(from + i / kDepthwiseChannels) : nullptr;
      tile[i] = row ? row[first + c] : from_float<T>(0.0f);
    }
  }
  __syncthreads();

  const int c = static_cast<int>(threadIdx.x) % kDepthwiseChannels;
  if (c >= channels) return;
  for (int r = threadIdx.x / kDepthwiseChannels; r < here; r += kDepthwiseThreads / kDepthwiseChannels) {
    float sum = 0;
    for (int k = 0; k < count; k++) {
      const long long at = static_cast<long long>(r) * stride + (taps.offset(k) - low);
      float v = 0;
      if (block.stage)
        v = to_float(tile[static_cast<int>(at) * kDepthwiseChannels + c]);
      else if (const T* row = x.at(from + at))
        v = to_float(row[first + c]);
      sum = fmaf(w[c * weights.pitch + k], v, sum);
    }
    finish(begin + r, first + c, sum);
  }
}

}  // namespace caracal
