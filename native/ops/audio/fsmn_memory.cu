// A block has 64 channels of up to 256 rows: their input, and the rows around it that the taps reach, stand in shared
// memory, so that z is read once but for those rows; the residual is read once and y is written once. Memory-bound:
// 2 K FLOP per element (K = 11) against 6 bytes of bf16.
#include "cuda/device/element.cuh"
#include "cuda/device/time_rows.cuh"

namespace caracal {

constexpr int kFsmnChannels = 64, kFsmnThreads = 256;

struct FsmnTaps {
  int left_order, right_order, left_stride, right_stride;
  int delay;  // rows by which the output lags behind z

  __device__ int count() const { return left_order + 1 + right_order; }
  __device__ int offset(int k) const {
    return (k <= left_order ? (k - left_order) * left_stride : (k - left_order) * right_stride) - delay;
  }
};

// Rows [blockIdx.x · rows, …) of `total`. `stage`: whether the rows that the taps reach have room in shared memory.
template <class T, class W>
__device__ inline void fsmn_memory(TimeRows<T> z, const W* weight, TimeRows<T> residual, T* y, FsmnTaps taps, int rows,
                                   long long total, bool stage) {
  extern __shared__ float shared[];
  const int count = taps.count(), pitch = count | 1;  // odd: lanes with neighbouring channels meet no common bank
  float* const w = shared;
  T* const tile = reinterpret_cast<T*>(shared + kFsmnChannels * pitch);
  const int first = static_cast<int>(blockIdx.y) * kFsmnChannels;
  const int channels = min(kFsmnChannels, z.channels - first);
  const long long begin = static_cast<long long>(blockIdx.x) * rows;
  const int here = static_cast<int>(min(static_cast<long long>(rows), total - begin));
  const int low = taps.offset(0), span = taps.offset(count - 1) - low + 1;

  for (int i = threadIdx.x; i < channels * count; i += kFsmnThreads)
    w[i / count * pitch + i % count] = to_float(weight[static_cast<long long>(first) * count + i]);
  if (stage)
    for (int i = threadIdx.x; i < (here + span - 1) * kFsmnChannels; i += kFsmnThreads) {
      const int c = i % kFsmnChannels;
      const T* row = c < channels ? z.at(begin + low + i / kFsmnChannels) : nullptr;
      tile[i] = row ? row[first + c] : from_float<T>(0.0f);
    }
  __syncthreads();

  const int c = static_cast<int>(threadIdx.x) % kFsmnChannels;
  if (c >= channels) return;
  for (int r = threadIdx.x / kFsmnChannels; r < here; r += kFsmnThreads / kFsmnChannels) {
    float sum = 0;
    for (int k = 0; k < count; k++) {
      float v = 0;
      if (stage)
        v = to_float(tile[(r + taps.offset(k) - low) * kFsmnChannels + c]);
      else if (const T* row = z.at(begin + r + taps.offset(k)))
        v = to_float(row[first + c]);
      sum = fmaf(w[c * pitch + k], v, sum);
    }
    if (const T* row = residual.at(begin + r - taps.delay)) sum += to_float(row[first + c]);
    y[(begin + r) * z.channels + first + c] = from_float<T>(sum);
  }
}

#define CARACAL_FSMN_MEMORY(T, W)                                                                           \
  extern "C" __global__ __launch_bounds__(kFsmnThreads) void fsmn_memory_##T##_##W(                         \
      TimeRows<T> z, const W* weight, TimeRows<T> residual, T* y, FsmnTaps taps, int rows, long long total, \
      bool stage) {                                                                                         \
    fsmn_memory<T, W>(z, weight, residual, y, taps, rows, total, stage);                                    \
  }
CARACAL_FSMN_MEMORY(f32, f32)
CARACAL_FSMN_MEMORY(f32, bf16)
CARACAL_FSMN_MEMORY(bf16, f32)
CARACAL_FSMN_MEMORY(bf16, bf16)
#undef CARACAL_FSMN_MEMORY

}  // namespace caracal
