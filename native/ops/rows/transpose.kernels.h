#pragma once
#include "cuda/kernel.h"

namespace caracal {

// The side of the tile that a block moves, and its threads.
inline constexpr int kTransposeTile = 32, kTransposeThreads = 256;

// transpose_<unit>: x, y, rows and columns of x, tiles per row of x. A block per tile.
inline constexpr Kernel<const void*, void*, long long, long long, long long> kTranspose{"transpose"};

}  // namespace caracal
