// Cooperative groups, cuda::barrier and cuda::pipeline.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
#include <cuda/barrier>
#include <cuda/pipeline>

namespace cg = cooperative_groups;

// Sums over tiles of 4, 8, 16 and 32 threads, and a scan over the threads whose number is not a multiple of 3.
extern "C" __global__ void tiles(const int* in, int* out) {
  const auto block = cg::this_thread_block();
  const int x = in[block.thread_rank()];
  int* to = out + 6 * block.thread_rank();
  to[0] = cg::reduce(cg::tiled_partition<4>(block), x, cg::plus<int>());
  to[1] = cg::reduce(cg::tiled_partition<8>(block), x, cg::greater<int>());
  to[2] = cg::reduce(cg::tiled_partition<16>(block), x, cg::bit_xor<int>());
  to[3] = cg::inclusive_scan(cg::tiled_partition<32>(block), x);
  to[4] = to[5] = 0;
  if (block.thread_rank() % 3 != 0) {
    const auto active = cg::coalesced_threads();
    to[4] = active.size();
    to[5] = active.shfl(x, 0);
  }
}

// Each phase sums what all threads wrote in the previous phase.
extern "C" __global__ void barriers(int* out) {
  using Barrier = cuda::barrier<cuda::thread_scope_block>;
  __shared__ Barrier barrier;
  __shared__ int cells[2][128];
  const int t = threadIdx.x;
  if (t == 0) init(&barrier, blockDim.x);
  __syncthreads();
  int value = t;
  for (int phase = 0; phase < 5; phase++) {
    cells[phase % 2][t] = value;
    barrier.wait(barrier.arrive());
    value = cells[phase % 2][(t + 1) % 128] + 1;
  }
  out[t] = value;
}

// A ring of two stages, filled by memcpy_async.
extern "C" __global__ void pipelined(const int* in, int* out, int stages) {
  constexpr int kStages = 2;
  const auto block = cg::this_thread_block();
  __shared__ int ring[kStages][128];
  __shared__ cuda::pipeline_shared_state<cuda::thread_scope_block, kStages> state;
  auto pipe = cuda::make_pipeline(block, &state);
  int sum = 0;
  for (int fetch = 0, compute = 0; compute < stages; compute++) {
    for (; fetch < stages && fetch < compute + kStages; fetch++) {
      pipe.producer_acquire();
      cuda::memcpy_async(block, ring[fetch % kStages], in + fetch * 128, sizeof(int) * 128, pipe);
      pipe.producer_commit();
    }
    pipe.consumer_wait();
    sum += ring[compute % kStages][(threadIdx.x + 1) % 128];
    pipe.consumer_release();
  }
  out[threadIdx.x] = sum;
}

// A pipeline per thread.
extern "C" __global__ void own_pipeline(const int4* in, int4* out) {
  __shared__ int4 buffer[64];
  auto pipe = cuda::make_pipeline();
  pipe.producer_acquire();
  cuda::memcpy_async(buffer + threadIdx.x, in + threadIdx.x, cuda::aligned_size_t<16>(16), pipe);
  pipe.producer_commit();
  pipe.consumer_wait();
  const int4 v = buffer[threadIdx.x];
  pipe.consumer_release();
  out[threadIdx.x] = make_int4(v.w, v.z, v.y, v.x);
}
