#pragma once
// sum[t, c] = sum over k of weight[c, k] · x[t · stride + offset(k), c], for FSMN memories and depthwise convolutions.
//
// A block computes 64 channels of up to a few hundred rows. Shared memory holds their input and the rows around it that
// the taps reach, so x is read once except for those rows. Memory-bound: 2 K FLOP per element against reading and
// writing 4 or 8 bytes.
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "ops/audio/depthwise.kernels.h"

namespace caracal {

// The taps of `channels` channels from `first` on, in shared memory as f32.
struct TapWeights {
  int count, pitch;

  __device__ explicit TapWeights(int count) : count(count), pitch(tap_pitch(count)) {}
  template <class W>
  __device__ void stage(float* to, const W* weight, int first, int channels) const {
    for (int i = thread_index(); i < channels * count; i += blockDim.x)
      to[i / count * pitch + i % count] = to_float(weight[static_cast<long long>(first) * count + i]);
  }
};

// Taps have count() and offset(k), which ascends with k. finish(row, channel, sum) receives the sums.
template <class T, class W, class Taps, class Finish>
__device__ inline void depthwise(const TimeRows<T>& x, const W* weight, const Taps& taps, int stride,
                                 const DepthwiseBlock& block, Finish finish) {
  static_assert(kDepthwiseThreads % kDepthwiseChannels == 0, "a thread keeps its channel from row to row");
  extern __shared__ __align__(16) float shared[];
  const int count = taps.count();
  const TapWeights weights(count);
  float* const w = shared;
  T* const tile = reinterpret_cast<T*>(shared + kDepthwiseChannels * weights.pitch);
  const int first_channel = block_y() * kDepthwiseChannels;
  const int channels = min(kDepthwiseChannels, x.channels - first_channel);
  const long long first_row = static_cast<long long>(blockIdx.x) * block.rows;
  const int rows = static_cast<int>(min(static_cast<long long>(block.rows), block.total - first_row));
  const long long first_offset = taps.offset(0), first_input = first_row * stride + first_offset;

  weights.stage(w, weight, first_channel, channels);
  if (block.staged) {
    const int inputs = (rows - 1) * stride + static_cast<int>(taps.offset(count - 1) - first_offset) + 1;
    for (int i = thread_index(); i < inputs * kDepthwiseChannels; i += kDepthwiseThreads) {
      const int c = i % kDepthwiseChannels;
      const T* row = c < channels ? x.at(first_input + i / kDepthwiseChannels) : nullptr;
      tile[i] = row ? row[first_channel + c] : from_float<T>(0.0f);
    }
  }
  __syncthreads();

  const int c = thread_index() % kDepthwiseChannels;
  if (c >= channels) return;
  for (int r = threadIdx.x / kDepthwiseChannels; r < rows; r += kDepthwiseThreads / kDepthwiseChannels) {
    float sum = 0;
    for (int k = 0; k < count; k++) {
      const long long input = static_cast<long long>(r) * stride + (taps.offset(k) - first_offset);
      float v = 0;
      if (block.staged)
        v = to_float(tile[static_cast<int>(input) * kDepthwiseChannels + c]);
      else if (const T* row = x.at(first_input + input))
        v = to_float(row[first_channel + c]);
      sum = fmaf(w[c * weights.pitch + k], v, sum);
    }
    finish(first_row + r, first_channel + c, sum);
  }
}

}  // namespace caracal
