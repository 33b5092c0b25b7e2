#pragma once
// The tiles of gemm.kernels.h as types, for one weight and for two (G).
#include "cuda/gemm/simt.cuh"
#include "cuda/gemm/tensor.cuh"

namespace caracal {

template <int G>
using SimtSmall = SimtTile<kSimtShapes[G - 1][0]>;
template <int G>
using SimtLarge = SimtTile<kSimtShapes[G - 1][1]>;
template <int G>
using TensorSmall = TensorTile<kTensorShapes[G - 1][0]>;
template <int G>
using TensorMedium = TensorTile<kTensorShapes[G - 1][1]>;
template <int G>
using TensorLarge = TensorTile<kTensorShapes[G - 1][2]>;
using Tensor96 = TensorTile<kTensor96>;

// ENTRY(x, w, Tile, tile) for every entry of a product: the dtypes of x and w, and a tile with its part of the name.
#define CARACAL_SIMT_ENTRIES(ENTRY)      \
  CARACAL_SIMT_TILES(ENTRY, f32, f32)    \
  CARACAL_SIMT_TILES(ENTRY, f32, bf16)   \
  CARACAL_SIMT_TILES(ENTRY, f32, f8e4m3) \
  CARACAL_SIMT_TILES(ENTRY, bf16, f32)
#define CARACAL_SIMT_TILES(ENTRY, X, W) \
  ENTRY(X, W, SimtSmall, simt_small)    \
  ENTRY(X, W, SimtLarge, simt_large)
#define CARACAL_TENSOR_ENTRIES(ENTRY)     \
  CARACAL_TENSOR_TILES(ENTRY, bf16, bf16) \
  CARACAL_TENSOR_TILES(ENTRY, bf16, f8e4m3)
#define CARACAL_TENSOR_TILES(ENTRY, X, W)  \
  ENTRY(X, W, TensorSmall, tensor_small)   \
  ENTRY(X, W, TensorMedium, tensor_medium) \
  ENTRY(X, W, TensorLarge, tensor_large)
static_assert(SimtSmall<1>::kName == "simt_small" && SimtLarge<1>::kName == "simt_large" &&
                  TensorSmall<1>::kName == "tensor_small" && TensorMedium<1>::kName == "tensor_medium" &&
                  TensorLarge<1>::kName == "tensor_large" && Tensor96::kName == "tensor_96",
              "the host launches a tile under another name than its entries have");

}  // namespace caracal
