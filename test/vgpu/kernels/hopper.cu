// Kernels for sm_90a: a tile of a matrix product with wgmma, and a bulk copy with an mbarrier. The macros introduce
// faults.
#include <cuda_bf16.h>
#include <cstdint>

__device__ uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

#ifndef SWIZZLE_ROW
#define SWIZZLE_ROW(row) ((row) % 8)
#endif

// d[64][64] = a[64][64] b[64][64]^T, with rows of 128 bytes whose 16-byte chunks are swizzled by the row.
extern "C" __global__ void __launch_bounds__(128) wgmma_tile(const __nv_bfloat16* a, const __nv_bfloat16* b, float* d) {
  __shared__ __align__(1024) unsigned char sa[64 * 128], sb[64 * 128];
  for (int i = threadIdx.x; i < 64 * 8; i += 128) {
    const int row = i / 8, chunk = i % 8, at = row * 128 + ((chunk ^ SWIZZLE_ROW(row)) << 4);
    *reinterpret_cast<uint4*>(sa + at) = *reinterpret_cast<const uint4*>(a + row * 64 + chunk * 8);
    *reinterpret_cast<uint4*>(sb + at) = *reinterpret_cast<const uint4*>(b + row * 64 + chunk * 8);
  }
#ifndef NO_PROXY_FENCE
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
  __syncthreads();
  float acc[32] = {};
  const auto descriptor = [](uint32_t address) {
    return static_cast<uint64_t>((address & 0x3ffff) >> 4) | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 |
           uint64_t{1} << 62;
  };
#ifndef NO_WGMMA_FENCE
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
  for (int k = 0; k < 4; k++) {
    const uint64_t da = descriptor(shared_address(sa) + 32 * k), db = descriptor(shared_address(sb) + 32 * k);
    asm volatile(
        "{ .reg .pred p; setp.ne.b32 p, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
        "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%"
        "29,%30,%31},"
        " %32, %33, p, 1, 1, 0, 0; }\n"
        : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3]), "+f"(acc[4]), "+f"(acc[5]), "+f"(acc[6]),
          "+f"(acc[7]), "+f"(acc[8]), "+f"(acc[9]), "+f"(acc[10]), "+f"(acc[11]), "+f"(acc[12]), "+f"(acc[13]),
          "+f"(acc[14]), "+f"(acc[15]), "+f"(acc[16]), "+f"(acc[17]), "+f"(acc[18]), "+f"(acc[19]), "+f"(acc[20]),
          "+f"(acc[21]), "+f"(acc[22]), "+f"(acc[23]), "+f"(acc[24]), "+f"(acc[25]), "+f"(acc[26]), "+f"(acc[27]),
          "+f"(acc[28]), "+f"(acc[29]), "+f"(acc[30]), "+f"(acc[31])
        : "l"(da), "l"(db), "r"(k));
  }
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#ifndef NO_WAIT
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#endif
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int i = 0; i < 32; i++) {
    const int row = 16 * warp + lane / 4 + 8 * (i / 2 % 2), column = 8 * (i / 4) + 2 * (lane % 4) + i % 2;
    d[row * 64 + column] = acc[i];
  }
}

#ifndef EXPECTED
#define EXPECTED 1024
#endif
#ifndef PARITY
#define PARITY 0
#endif

// y = 2 x for 256 numbers that arrive in one bulk copy.
extern "C" __global__ void bulk(const float* x, float* y) {
  __shared__ __align__(128) float s[256];
  __shared__ uint64_t barrier;
  const uint32_t object = shared_address(&barrier);
  if (threadIdx.x == 0) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(object));
    asm volatile("fence.mbarrier_init.release.cluster;");
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    asm volatile("{ .reg .b64 t; mbarrier.arrive.expect_tx.shared::cta.b64 t, [%0], %1; }" ::"r"(object),
                 "r"(EXPECTED));
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], 1024, [%2];" ::"r"(
                     shared_address(s)),
                 "l"(x), "r"(object)
                 : "memory");
  }
  asm volatile(
      "{ .reg .pred p;\nAGAIN: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@!p bra AGAIN; }" ::"r"(object),
      "r"(PARITY)
      : "memory");
  y[threadIdx.x] = 2 * s[threadIdx.x];
}

// Each block of a cluster of two adds the other block's values.
extern "C" __global__ void __cluster_dims__(2, 1, 1) neighbours(int* out) {
  __shared__ int value;
  uint32_t rank, remote;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  if (threadIdx.x == 0) value = 100 + rank;
  asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(shared_address(&value)), "r"(rank ^ 1));
  int peer_value;
  asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(peer_value) : "r"(remote));
  out[blockIdx.x * blockDim.x + threadIdx.x] = peer_value + threadIdx.x;
  asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}

struct alignas(64) TensorMap {
  unsigned char bytes[128];
};

// Copies a box of 32 x 8 numbers of a matrix to `out` as it is laid out in shared memory, and to another position of
// the matrix.
extern "C" __global__ void tma_box(const __grid_constant__ TensorMap map, float* out, int x, int y, int to_x,
                                   int to_y) {
  __shared__ __align__(1024) float s[256];
  __shared__ uint64_t barrier;
  const uint32_t object = shared_address(&barrier);
  if (threadIdx.x == 0) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(object));
    asm volatile("fence.mbarrier_init.release.cluster;");
    asm volatile("{ .reg .b64 t; mbarrier.arrive.expect_tx.shared::cta.b64 t, [%0], 1024; }" ::"r"(object));
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], "
        "[%4];" ::"r"(shared_address(s)),
        "l"(&map), "r"(x), "r"(y), "r"(object)
        : "memory");
  }
  __syncthreads();
  asm volatile(
      "{ .reg .pred p;\nAGAIN: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], 0;\n@!p bra AGAIN; }" ::"r"(object)
      : "memory");
  out[threadIdx.x] = s[threadIdx.x];
  if (threadIdx.x == 0) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&map),
                 "r"(to_x), "r"(to_y), "r"(shared_address(s))
                 : "memory");
    asm volatile("cp.async.bulk.commit_group;");
#ifndef NO_BULK_WAIT
    asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
#endif
  }
}
