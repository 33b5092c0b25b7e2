#pragma once
// The device's side of units.h: which row a thread works on, and where in it.
#include <cstdint>

#include "cuda/device/element.cuh"

namespace caracal {

using b16 = uint4;
using b4 = uint32_t;
using b2 = uint16_t;
using b1 = uint8_t;

struct Lane {
  long long row;
  int first, step;  // it takes the items first, first + step, ...

  __device__ explicit Lane(int shift)
      : row(blockIdx.x * static_cast<long long>(blockDim.x >> shift) + (threadIdx.x >> shift)),
        first(static_cast<int>(threadIdx.x) & ((1 << shift) - 1)),
        step(1 << shift) {}
};

}  // namespace caracal
