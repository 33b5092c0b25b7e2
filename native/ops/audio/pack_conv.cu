// Transposes a convolution weight, reading and writing each byte once. A block moves 64 channels by up to 64 columns
// through shared memory, so that global reads and writes are both contiguous. Runs once, at load.
#include "core/math.h"
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "ops/audio/pack_conv.kernels.h"

namespace caracal {

// Column o · taps + tap of each matrix [channels, columns] becomes row tap · (columns / taps) + o of [columns,
// channels]. A block has `width` columns.
template <class T>
__device__ inline void pack_conv(const T* from, T* to, long long channels, long long columns, int taps, int width) {
  __shared__ T tile[kPackTile * (kPackTile + 1)];
  const int pitch = width | 1;  // odd, so lanes with neighbouring channels use different banks
  const long long tile_columns = divide_up(columns, width), tiles = divide_up(channels, kPackTile) * tile_columns;
  const long long matrix = blockIdx.x / tiles, in_matrix = blockIdx.x % tiles;
  const long long c0 = in_matrix / tile_columns * kPackTile, q0 = in_matrix % tile_columns * width;
  from += matrix * channels * columns;
  to += matrix * channels * columns;
  for (int i = thread_index(); i < kPackTile * width; i += kPackThreads) {
    const int c = i / width, q = i % width;
    if (c0 + c < channels && q0 + q < columns) tile[c * pitch + q] = from[(c0 + c) * columns + q0 + q];
  }
  __syncthreads();
  for (int i = thread_index(); i < kPackTile * width; i += kPackThreads) {
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
