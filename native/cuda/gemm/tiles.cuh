#pragma once
// The tiles of the matrix kernels, of one weight and of two; the host knows them from cuda/gemm/tiles.h.
#include "cuda/gemm/simt.cuh"
#include "cuda/gemm/tensor.cuh"

namespace caracal {

template <int G>
using SimtSmall = SimtTile<16, 32 / G, 2, 2 / G>;  // decoding: many blocks, so that all of the memory is kept busy
template <int G>
using SimtLarge = SimtTile<128, 128 / G, 8, 8 / G>;  // as many products per byte of shared memory as registers allow
template <int G>
using TensorSmall = TensorTile<16, 32, 1, 4, G == 1 ? 8 : 6>;
template <int G>
using TensorMedium = TensorTile<64, 64 / G, 2, 2, 4>;
template <int G>
using TensorLarge = TensorTile<128, 128 / G, 2, 4, 3>;
using Tensor96 = TensorTile<32, 96, 1, 4, 4>;  // for 96 channels

}  // namespace caracal
