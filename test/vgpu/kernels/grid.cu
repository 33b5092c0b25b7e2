// Cooperation of threads in different blocks, or at different instructions.
#include <cooperative_groups.h>

namespace cg = cooperative_groups;

// In every round each block stores the sum of its row of `values`. After grid.sync every block adds up all sums and
// writes the total plus its own number into the row for the next round.
extern "C" __global__ void rounds(int* values, int* sums, int count) {
  const cg::grid_group grid = cg::this_grid();
  __shared__ int sum;
  int* row = values + blockIdx.x * blockDim.x;
  for (int round = 0; round < count; round++) {
    if (threadIdx.x == 0) sum = 0;
    __syncthreads();
    atomicAdd(&sum, row[threadIdx.x]);
    __syncthreads();
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
    grid.sync();
    int all = 0;
    for (int b = 0; b < gridDim.x; b++) all += sums[b];
    row[threadIdx.x] = all % 1000 + blockIdx.x + threadIdx.x;
    grid.sync();
  }
}

// The same without the second grid.sync: a block may write its sum while another one still reads.
extern "C" __global__ void rounds_without_second(int* values, int* sums, int count) {
  const cg::grid_group grid = cg::this_grid();
  for (int round = 0; round < count; round++) {
    if (threadIdx.x == 0) sums[blockIdx.x] = round + values[blockIdx.x];
    grid.sync();
    int all = 0;
    for (int b = 0; b < gridDim.x; b++) all += sums[b];
    if (threadIdx.x == 0) values[blockIdx.x] = all;
  }
}

// Arrives, does other work, then waits.
extern "C" __global__ void split_arrival(int* out) {
  cg::grid_group grid = cg::this_grid();
  out[grid.thread_rank()] = static_cast<int>(grid.thread_rank());
  auto token = grid.barrier_arrive();
  const int own = threadIdx.x * 2;
  grid.barrier_wait(std::move(token));
  const unsigned other = static_cast<unsigned>((grid.thread_rank() + blockDim.x) % grid.num_threads());
  const int seen = out[other];
  grid.sync();
  out[grid.thread_rank()] = seen + own;
}

extern "C" __global__ void valid(int* out) { *out = cg::this_grid().is_valid(); }

// Each arm of a branch has its own __syncwarp, and lanes read what the other arm's lanes have written.
extern "C" __global__ void arms(int* out) {
  __shared__ int box[32];
  const int lane = threadIdx.x;
  if (lane % 2) {
    box[lane] = 100 + lane;
    __syncwarp();
    out[lane] = box[lane - 1];
  } else {
    box[lane] = 200 + lane;
    __syncwarp();
    out[lane] = box[lane + 1];
  }
}

// A call from each arm: the lanes converge in two frames of one function.
__device__ __noinline__ int exchange(int x, int distance) { return __shfl_xor_sync(0xffffffffu, x, distance); }
extern "C" __global__ void calls(const int* in, int* out) {
  const int lane = threadIdx.x;
  if (lane < 7)
    out[lane] = exchange(in[lane] + 1, 9) * 2;
  else
    out[lane] = exchange(in[lane] + 3, 9) - 5;
}
