#pragma once
// A thread's position in its block, in its warp and in the grid, as signed integers. Blocks are one-dimensional.
#include <cstdint>

namespace caracal {

constexpr int kWarp = 32;  // threads
constexpr int kMaxBlockWarps = 32;
constexpr uint32_t kAllLanes = 0xffffffff;

__device__ inline int thread_index() { return static_cast<int>(threadIdx.x); }
__device__ inline int thread_count() { return static_cast<int>(blockDim.x); }  // of the block

__device__ inline int lane_index() { return thread_index() % kWarp; }
__device__ inline int warp_index() { return thread_index() / kWarp; }
__device__ inline int warp_count() { return thread_count() / kWarp; }  // of the block

__device__ inline int block_x() { return static_cast<int>(blockIdx.x); }
__device__ inline int block_y() { return static_cast<int>(blockIdx.y); }
__device__ inline int block_z() { return static_cast<int>(blockIdx.z); }

// The thread's index in a one-dimensional grid.
__device__ inline long long grid_thread_index() {
  return blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
}

}  // namespace caracal
