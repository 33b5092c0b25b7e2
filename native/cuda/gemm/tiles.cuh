#pragma once
// The tiles of gemm.kernels.h as types, for G = 1 or 2 weights, and the list of a product's entries.
#include "cuda/gemm/simt.cuh"
#include "cuda/gemm/tensor_gemm.cuh"

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

// One tile of the output per block of Tile::kThreads threads, for G weights.
template <int G, class Tile, class X, class W, class Epilogue>
__device__ inline void gemm(const GemmOperands& p, const Epilogue& epilogue) {
  if constexpr (Tile::kTensorCores)
    tensor_gemm<G, Tile, W>(p, epilogue);
  else
    simt_gemm<G, Tile, X, W>(p, epilogue);
}

// Expands ENTRY(X, W, Tile, tile) for every entry of a product: the dtypes of x and of the weights, a tile's type and its
// name. The host chooses among the same entries, see uses_tensor_cores and has_large_tile in tiles.h.
#define CARACAL_GEMM_ENTRIES(ENTRY)           \
  CARACAL_SIMT_ENTRIES(ENTRY, f32, f32)       \
  CARACAL_SIMT_ENTRIES(ENTRY, f32, bf16)      \
  CARACAL_SIMT_ENTRIES(ENTRY, f32, f8e4m3)    \
  CARACAL_SIMT_ENTRIES(ENTRY, f32, q4)        \
  CARACAL_SIMT_ENTRIES(ENTRY, f32, q8)        \
  CARACAL_SIMT_ENTRIES(ENTRY, bf16, f32)      \
  CARACAL_TENSOR_ENTRIES(ENTRY, bf16, bf16)   \
  CARACAL_TENSOR_ENTRIES(ENTRY, bf16, f8e4m3) \
  CARACAL_CODE_ENTRIES(ENTRY, bf16, q4)       \
  CARACAL_CODE_ENTRIES(ENTRY, bf16, q8)
#define CARACAL_SIMT_ENTRIES(ENTRY, X, W) \
  ENTRY(X, W, SimtSmall, simt_small)      \
  ENTRY(X, W, SimtLarge, simt_large)
#define CARACAL_CODE_ENTRIES(ENTRY, X, W) \
  ENTRY(X, W, TensorSmall, tensor_small)  \
  ENTRY(X, W, TensorMedium, tensor_medium)
#define CARACAL_TENSOR_ENTRIES(ENTRY, X, W) \
  CARACAL_CODE_ENTRIES(ENTRY, X, W)         \
  ENTRY(X, W, TensorLarge, tensor_large)
static_assert(SimtSmall<1>::kName == "simt_small" && SimtLarge<1>::kName == "simt_large" &&
                  TensorSmall<1>::kName == "tensor_small" && TensorMedium<1>::kName == "tensor_medium" &&
                  TensorLarge<1>::kName == "tensor_large" && Tensor96::kName == "tensor_96",
              "the host launches a tile under another name than its entries have");
static_assert(SimtSmall<2>::kName == SimtSmall<1>::kName && SimtLarge<2>::kName == SimtLarge<1>::kName &&
                  TensorSmall<2>::kName == TensorSmall<1>::kName && TensorMedium<2>::kName == TensorMedium<1>::kName &&
                  TensorLarge<2>::kName == TensorLarge<1>::kName,
              "a tile for two weights has another name than the one for a single weight");

}  // namespace caracal
