// The wrappers of <cuda/ptx> for features of sm_90: third-party code with its own inline PTX.
#include <cuda/ptx>

namespace ptx = cuda::ptx;

template <class T>
__device__ T* in_block(T* p, unsigned rank) {
  return static_cast<T*>(__cluster_map_shared_rank(p, rank));
}

__device__ void synchronise_cluster() {
  ptx::barrier_cluster_arrive(ptx::sem_release);
  ptx::barrier_cluster_wait(ptx::sem_acquire);
}

__device__ void init(uint64_t* barrier, uint32_t count) {
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(barrier, count);
    ptx::fence_mbarrier_init(ptx::sem_release, ptx::scope_cluster);
  }
}

__device__ void expect(uint64_t* barrier, uint32_t bytes) {
  ptx::mbarrier_arrive_expect_tx(ptx::sem_release, ptx::scope_cta, ptx::space_shared, barrier, bytes);
}

__device__ void wait(uint64_t* barrier) {
  while (!ptx::mbarrier_try_wait_parity(ptx::sem_acquire, ptx::scope_cluster, barrier, 0)) {
  }
}

// st.async and red.async to the other block of a cluster of two. out: 48 words per block.
extern "C" __global__ void __cluster_dims__(2, 1, 1) remote_stores(uint32_t* out) {
  __shared__ alignas(16) uint32_t words[40];
  __shared__ uint32_t reduced[8];
  __shared__ uint64_t barrier;
  const unsigned rank = ptx::get_sreg_cluster_ctarank(), t = threadIdx.x;
  if (t < 8) reduced[t] = 12;
  init(&barrier, 1);
  __syncthreads();
  if (t == 0) expect(&barrier, 32 * 4 + 16 + 8 + 8 * 4);
  synchronise_cluster();
  uint64_t* const peer_barrier = in_block(&barrier, rank ^ 1);
  ptx::st_async(in_block(words + t, rank ^ 1), 1000 * rank + t, peer_barrier);
  if (t == 0) {
    const int four[4] = {1, -2, 3, int(rank)};
    ptx::st_async(in_block(reinterpret_cast<int*>(words + 32), rank ^ 1), four, peer_barrier);
    ptx::st_async(in_block(reinterpret_cast<int64_t*>(words + 36), rank ^ 1), int64_t{-5}, peer_barrier);
    uint32_t* const r = in_block(reduced, rank ^ 1);
    ptx::red_async(ptx::op_inc, r, 12u, peer_barrier);
    ptx::red_async(ptx::op_dec, r + 1, 100u, peer_barrier);
    ptx::red_async(ptx::op_min, r + 2, 7u, peer_barrier);
    ptx::red_async(ptx::op_max, reinterpret_cast<int*>(r) + 3, -1, peer_barrier);
    ptx::red_async(ptx::op_add, r + 4, 30u, peer_barrier);
    ptx::red_async(ptx::op_and_op, r + 5, 6u, peer_barrier);
    ptx::red_async(ptx::op_or_op, r + 6, 3u, peer_barrier);
    ptx::red_async(ptx::op_xor_op, r + 7, 5u, peer_barrier);
  }
#ifndef NO_REMOTE_WAIT
  wait(&barrier);
#endif
  out += 48 * rank;
  out[t] = words[t];
  if (t < 8) out[32 + t] = t < 6 ? words[32 + t] : t, out[40 + t] = reduced[t];
  synchronise_cluster();
}

// Bulk copies and reductions between the blocks of a cluster and to memory: 64 words per block of in and out.
extern "C" __global__ void __cluster_dims__(2, 1, 1) bulk(const int* in, int* out, int* sums) {
  __shared__ alignas(128) int source[64], copied[64], reduced[64];
  __shared__ uint64_t barrier;
  const unsigned rank = ptx::get_sreg_cluster_ctarank(), t = threadIdx.x;
  if (t < 64) reduced[t] = 1;
  ptx::fence_proxy_async(ptx::space_shared);
  init(&barrier, 1);
  __syncthreads();
  if (t == 0) {
    expect(&barrier, 256);
    ptx::cp_async_bulk(ptx::space_cluster, ptx::space_global, source, in + 64 * rank, 256, &barrier);
  }
  wait(&barrier);
  if (t == 0) expect(&barrier, 512);
  synchronise_cluster();
  if (t == 0) {
    uint64_t* const peer_barrier = in_block(&barrier, rank ^ 1);
    ptx::cp_async_bulk(ptx::space_cluster, ptx::space_shared, in_block(copied, rank ^ 1), source, 256, peer_barrier);
    ptx::cp_reduce_async_bulk(ptx::space_cluster, ptx::space_shared, ptx::op_add, in_block(reduced, rank ^ 1), source,
                              256, peer_barrier);
    ptx::cp_reduce_async_bulk(ptx::space_global, ptx::space_shared, ptx::op_max, sums, source, 256);
    ptx::cp_async_bulk_commit_group();
    ptx::cp_async_bulk_wait_group_read(ptx::n32_t<0>{});
  }
  while (!ptx::mbarrier_test_wait_parity(ptx::sem_acquire, ptx::scope_cluster, &barrier, 1)) {
  }
  out[128 * rank + t] = copied[t];
  out[128 * rank + 64 + t] = reduced[t];
  if (t == 0) ptx::cp_async_bulk_wait_group(ptx::n32_t<0>{});
  synchronise_cluster();
}

struct alignas(64) TensorMap {
  unsigned char bytes[128];
};

// A box of 8 x 4 numbers from (x, y), doubled in place, and added at (x, y + 4).
extern "C" __global__ void boxes(const __grid_constant__ TensorMap map, int x, int y) {
  __shared__ alignas(128) float s[32];
  __shared__ uint64_t barrier;
  init(&barrier, 32);
  __syncthreads();
  uint64_t state;
  if (threadIdx.x == 0) {
    const int at[2] = {x, y};
    ptx::cp_async_bulk_tensor(ptx::space_cluster, ptx::space_global, s, &map, at, &barrier);
    state = ptx::mbarrier_arrive_expect_tx(ptx::sem_release, ptx::scope_cta, ptx::space_shared, &barrier, 128);
  } else {
    state = ptx::mbarrier_arrive(ptx::sem_release, ptx::scope_cta, ptx::space_shared, &barrier);
  }
  while (!ptx::mbarrier_try_wait(ptx::sem_acquire, ptx::scope_cta, &barrier, state)) {
  }
  s[threadIdx.x] *= 2;
  ptx::fence_proxy_async(ptx::space_shared);
  __syncthreads();
  if (threadIdx.x == 0) {
    const int at[2] = {x, y}, below[2] = {x, y + 4};
    ptx::cp_async_bulk_tensor(ptx::space_global, ptx::space_shared, &map, at, s);
    ptx::cp_reduce_async_bulk_tensor(ptx::space_global, ptx::space_shared, ptx::op_add, &map, below, s);
    ptx::cp_async_bulk_commit_group();
    ptx::cp_async_bulk_wait_group(ptx::n32_t<0>{});
  }
}

// Results of the variants of mbarrier, getctarank and the special registers. out: 16 words per block.
extern "C" __global__ void __cluster_dims__(2, 1, 1) answers(uint32_t* out) {
  __shared__ uint64_t barrier;
  const unsigned rank = ptx::get_sreg_cluster_ctarank();
  out += 16 * rank;
  ptx::mbarrier_init(&barrier, 4);
  ptx::fence_mbarrier_init(ptx::sem_release, ptx::scope_cluster);
  synchronise_cluster();
  const uint64_t first = ptx::mbarrier_arrive_no_complete(&barrier, 1);
  out[0] = ptx::mbarrier_test_wait(&barrier, first);
  ptx::mbarrier_expect_tx(ptx::sem_relaxed, ptx::scope_cta, ptx::space_shared, &barrier, 8);
  ptx::mbarrier_arrive(&barrier);
  out[1] = ptx::mbarrier_test_wait_parity(&barrier, 0);
  synchronise_cluster();
  // Each block arrives twice on behalf of the other one.
  ptx::mbarrier_arrive(ptx::sem_release, ptx::scope_cluster, ptx::space_cluster, in_block(&barrier, rank ^ 1), 2);
  synchronise_cluster();
  out[2] = ptx::mbarrier_test_wait(ptx::sem_acquire, ptx::scope_cluster, &barrier, first);
  asm volatile("mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%0], 8;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(&barrier)))
               : "memory");
  out[3] = ptx::mbarrier_test_wait(ptx::sem_acquire, ptx::scope_cluster, &barrier, first);
  out[4] = ptx::mbarrier_try_wait_parity(&barrier, 0);
  out[5] = ptx::mbarrier_test_wait_parity(&barrier, 1);
  out[6] = ptx::getctarank(ptx::space_cluster, in_block(&barrier, 1));
  out[7] = ptx::getctarank(ptx::space_cluster, &barrier);
  out[8] = ptx::get_sreg_cluster_nctarank();
  out[9] = ptx::get_sreg_clusterid_x();
  ptx::fence(ptx::sem_acq_rel, ptx::scope_cluster);
  ptx::fence_proxy_alias();
  ptx::fence_proxy_async();
  ptx::fence_proxy_tensormap_generic(ptx::sem_release, ptx::scope_gpu);
  ptx::fence_proxy_tensormap_generic(ptx::sem_acquire, ptx::scope_gpu, out, ptx::n32_t<128>{});
  synchronise_cluster();
}

// Turns the host's map of 8 x 4 numbers into one for `to`, 16 numbers by 6, and stores 8 x 2 numbers at its corner (12,
// 5).
extern "C" __global__ void map_of_its_own(const __grid_constant__ TensorMap map, float* to, TensorMap* made) {
  __shared__ alignas(128) TensorMap local_map;
  __shared__ alignas(128) float s[16];
  const unsigned t = threadIdx.x;
  reinterpret_cast<uint32_t*>(&local_map)[t] = reinterpret_cast<const uint32_t*>(&map)[t];
  if (t < 16) s[t] = 100 + t;
  __syncwarp();
  if (t == 0) {
    ptx::tensormap_replace_global_address(ptx::space_shared, &local_map, to);
    ptx::tensormap_replace_global_dim(ptx::space_shared, &local_map, ptx::n32_t<0>{}, 16);
    ptx::tensormap_replace_global_dim(ptx::space_shared, &local_map, ptx::n32_t<1>{}, 6);
    ptx::tensormap_replace_global_stride(ptx::space_shared, &local_map, ptx::n32_t<0>{}, uint64_t{64});
    ptx::tensormap_replace_box_dim(ptx::space_shared, &local_map, ptx::n32_t<1>{}, 2);
  }
  __syncwarp();
  ptx::tensormap_cp_fenceproxy(ptx::sem_release, ptx::scope_gpu, made, &local_map, ptx::n32_t<128>{});
  ptx::fence_proxy_tensormap_generic(ptx::sem_acquire, ptx::scope_gpu, made, ptx::n32_t<128>{});
  ptx::fence_proxy_async(ptx::space_shared);
  __syncwarp();
  if (t == 0) {
    const int at[2] = {12, 5};
    ptx::cp_async_bulk_tensor(ptx::space_global, ptx::space_shared, made, at, s);
    ptx::cp_async_bulk_commit_group();
    ptx::cp_async_bulk_wait_group(ptx::n32_t<0>{});
  }
}
