// Kernels that depend on how they are compiled: with or without optimisation, for debugging, for a linker.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>

namespace cg = cooperative_groups;

// Sums over tiles wider than a warp, which exchange data in shared memory reserved by the system. `own` shows that the
// kernel's own memory is elsewhere.
extern "C" __global__ void wide_tiles(const int* in, int* out) {
  __shared__ cg::block_tile_memory<256> scratch;
  __shared__ int own[256];
  const unsigned t = threadIdx.x;
  own[t] = in[t];
  auto tile = cg::tiled_partition<128>(cg::this_thread_block(scratch));
  out[t] = cg::reduce(tile, in[t], cg::plus<int>());
  out[256 + t] = own[t];
}

struct Steps {
  unsigned longest, at[8];
};

__device__ __noinline__ unsigned collatz(unsigned n, Steps& s) {
  unsigned steps = 0;
  for (; n != 1; n = n % 2 ? 3 * n + 1 : n / 2) s.at[steps++ % 8] = n;
  s.longest = max(s.longest, steps);
  return steps;
}

// The largest number of steps among 4 numbers per thread, in units of a warp, and the final contents of the array.
extern "C" __global__ void steps(unsigned* out) {
  Steps s{};
  for (unsigned i = 0; i < 4; i++) collatz(blockIdx.x * blockDim.x + threadIdx.x + i + 9, s);
  unsigned sum = 0;
  for (unsigned i = 0; i < 8; i++) sum += s.at[i];
  const unsigned t = blockIdx.x * blockDim.x + threadIdx.x;
  out[2 * t] = s.longest * warpSize;
  out[2 * t + 1] = sum;
}

extern "C" __global__ void logistic(const float* x, float* y) {
  const unsigned t = threadIdx.x;
  y[t] = 1.0f / (1.0f + expf(-x[t])) + sinf(x[t]) * sqrtf(fabsf(x[t]));
}

#ifdef OUTSIDE
extern "C" __device__ unsigned outside(unsigned);
extern "C" __global__ void calls(unsigned* out) { *out = outside(1); }
#endif
