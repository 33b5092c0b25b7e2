// z is read once but for the rows that the taps of two blocks reach, the residual is read once and y is written once.
// Memory-bound: 2 K FLOP per element (K = 11) against 6 bytes of bf16.
#include "ops/audio/depthwise.cuh"

namespace caracal {

struct FsmnTaps {
  int left_order, right_order, left_stride, right_stride;
  int delay;  // rows by which the output lags behind z

  __device__ int count() const { return left_order + 1 + right_order; }
  __device__ int offset(int k) const {
    return (k <= left_order ? (k - left_order) * left_stride : (k - left_order) * right_stride) - delay;
  }
};

#define CARACAL_FSMN_MEMORY(T, W)                                                                        \
  extern "C" __global__ __launch_bounds__(kDepthwiseThreads) void fsmn_memory_##T##_##W(                 \
      TimeRows<T> z, const W* weight, TimeRows<T> residual, T* y, FsmnTaps taps, DepthwiseBlock block) { \
    depthwise(z, weight, taps, 1, block, [&](long long t, int c, float sum) {                            \
      if (const T* row = residual.at(t - taps.delay)) sum += to_float(row[c]);                           \
      y[t * z.channels + c] = from_float<T>(sum);                                                        \
    });                                                                                                  \
  }
CARACAL_FSMN_MEMORY(f32, f32)
CARACAL_FSMN_MEMORY(f32, bf16)
CARACAL_FSMN_MEMORY(bf16, f32)
CARACAL_FSMN_MEMORY(bf16, bf16)
#undef CARACAL_FSMN_MEMORY

}  // namespace caracal
