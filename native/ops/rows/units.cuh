#pragma once
// The device side of units.cuda.h: unit types, and the part of a row that a thread works on.
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"

namespace caracal {

using b16 = uint4;
using b4 = uint32_t;
using b2 = uint16_t;
using b1 = uint8_t;

// 1 << shift lanes share a row. This one takes the items first, first + step, ...
struct RowLane {
  long long row;
  int first, step;

  __device__ explicit RowLane(int shift)
      : row(blockIdx.x * static_cast<long long>(blockDim.x >> shift) + (threadIdx.x >> shift)),
        first(thread_index() & ((1 << shift) - 1)),
        step(1 << shift) {}
};

}  // namespace caracal
