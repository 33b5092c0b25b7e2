#pragma once
#include "cuda/gemm/gemm.kernels.h"
#include "ops/audio/depthwise.kernels.h"

namespace caracal {

// Element tap · channels + c of row t of a group's product is x[origin + t · stride + tap · dilation, group · channels
// + c]. The group's columns of the output begin at group · N; there are `groups` times N of them. If the rows are those of
// several streams, each reads `stream_skip` rows further on than the one before.
struct ConvGeometry {
  long long origin;
  long long stride, dilation;
  int channels;  // per group
  int groups;
  int stream_rows;  // of the product; 0: there is one stream
  long long stream_skip;
};

template <class T>
struct ConvRows {
  TimeRows<T> x;
  ConvGeometry g;

  // Element k of row t, or null where it is zero.
  CARACAL_HOST_DEVICE const T* at(long long t, long long k, int group) const {
    const int tap = static_cast<int>(static_cast<uint32_t>(k) / static_cast<uint32_t>(g.channels));
    long long time = g.origin + t * g.stride + tap * g.dilation;
    if (g.stream_rows > 0) time += static_cast<uint32_t>(t) / static_cast<uint32_t>(g.stream_rows) * g.stream_skip;
    const T* row = x.at(time);
    return row ? row + static_cast<long long>(group) * g.channels + (k - tap * g.channels) : nullptr;
  }
};

// With alpha, Snake is the activation.
struct ConvEpilogue {
  LinearEpilogue linear;
  ColumnVector alpha;
};

// --- dense ----------------------------------------------------------------------------------------------------------

// Exact f32 sums are chains of this many products, which are added in order: in deep stacks of convolutions the
// rounding of longer chains would grow.
inline constexpr int kConvChain = 32;
inline constexpr int kConvShare = 256;  // products per block where few rows leave a GPU idle and blocks split the depth

// Tiles in exact f32; bf16 by bf16 uses the tensor-core tiles of linear.
inline constexpr SimtShape kConvSmall = kSimtShapes[0][0];
inline constexpr SimtShape kConvLarge{"simt_large", 128, 64, 8, 4};  // its sums take twice the registers of linear's

inline constexpr Kernel<ConvRows<void>, GemmOperands, ConvEpilogue> kConv1d{"conv1d"};  // conv1d_<tile>_<x>_<w>
// x, operands, sums of the chains [chains, M, N]
inline constexpr Kernel<ConvRows<void>, GemmOperands, float*> kConv1dShare{"conv1d_share"};  // conv1d_share_<x>_<w>
// sums of the chains, chains, M, N, epilogue
inline constexpr Kernel<const float*, int, long long, long long, ConvEpilogue> kConv1dAdd{"conv1d_add"};

// --- depthwise ------------------------------------------------------------------------------------------------------

struct ConvTaps {
  long long origin, dilation;
  int taps;

  CARACAL_HOST_DEVICE int count() const { return taps; }
  CARACAL_HOST_DEVICE long long offset(int k) const { return origin + k * dilation; }
};

// x, weight, taps, stride, block, epilogue
inline constexpr Kernel<TimeRows<void>, const void*, ConvTaps, int, DepthwiseBlock, ConvEpilogue> kConv1dDepthwise{
    "conv1d_depthwise"};  // conv1d_depthwise_<x>_<w>

}  // namespace caracal
