// Once, at load: every byte of a weight is read once and written once. A block moves 64 channels by up to 64 columns
// through shared memory, so that both sides are contiguous.
#include "cuda/device/element.cuh"
#include "ops/audio/pack_conv.kernels.h"

namespace caracal {

// Of every matrix [channels, columns], column o · taps + tap becomes row tap · (columns / taps) + o of [columns,
// channels]. `width` columns to a block.
template <class T>
__device__ inline void pack_conv(const T* from, T* to, long long channels, long long columns, int taps, int width) {
  __shared__ T tile[kPackTile * (kPackTile + 1)];
  const int pitch = width | 1;  // odd: lanes with neighbouring channels meet no common bank
  const long long down = (channels + kPackTile - 1) / kPackTile, across = (columns + width - 1) / width;
  const long long matrix = blockIdx.x / (down * across), within = blockIdx.x % (down * across);
  const long long c0 = within / across * kPackTile, q0 = within % across * width;
  from += matrix * channels * columns;
  to += matrix * channels * columns;
  for (int i = threadIdx.x; i < kPackTile * width; i += kPackThreads) {
    const int c = i / width, q = i % width;
    if (c0 + c < channels && q0 + q < columns) tile[c * pitch + q] = from[(c0 + c) * columns + q0 + q];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kPackTile * width; i += kPackThreads) {
    const int c = i % kPackTile, q = i / kPackTile;
    const long long column = q0 + q, row = column % taps * (columns / taps) + column / taps;
    if (c0 + c < channels && column < columns) to[row * channels + c0 + c] = tile[c * pitch + q];
  }
}

#define CARACAL_PACK_CONV(T)                                                                                          \
  CARACAL_KERNEL(kPackConv, pack_conv_##T, __launch_bounds__(kPackThreads), const T* from, T* to, long long channels, \
                 long long columns, int taps, int width) {                                                            \
    pack_conv(from, to, channels, columns, taps, width);                                                              \
  }
CARACAL_PACK_CONV(f32)
CARACAL_PACK_CONV(bf16)
#undef CARACAL_PACK_CONV

}  // namespace caracal
