#pragma once
// What the host tells the kernels of convolutions; read by both.
#include "cuda/gemm/gemm.kernels.h"

namespace caracal {

// Sums of exact f32 products are chains of this many, which are added in order: deep stacks of convolutions grow the
// rounding of longer ones. A multiple of the main loop's step. Where few rows leave a GPU idle, blocks share out the
// depth, so many products each.
inline constexpr int kConvChain = 64, kConvShare = 256;

// Element tap · channels + c of row t of a group's product is x[origin + t · stride + tap · dilation, group · channels +
// c]; its columns of the output, `groups` times N of them, begin at group · N.
struct ConvGeometry {
  long long origin;
  long long stride, dilation;
  int channels;  // of a group
  int groups;
};

// With alpha, Snake is the activation.
struct ConvEpilogue {
  LinearEpilogue linear;
  ColumnVector alpha;
};

}  // namespace caracal
