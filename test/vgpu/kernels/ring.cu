// A matrix product in the style of Hopper kernels: one warp fills a ring of stages by TMA, two warpgroups multiply with
// wgmma with one group in flight, and the tile is stored by TMA. Also a ring of bulk stores. The macros introduce
// faults.
#include <cstdint>

#ifndef CONSUMER_PARITY
#define CONSUMER_PARITY(round) ((round) & 1)
#endif
#ifndef PRODUCER_PARITY
#define PRODUCER_PARITY(round) (((round) & 1) ^ 1)
#endif
#ifndef EXPECTED
#define EXPECTED stage_bytes
#endif
#ifndef RELEASED  // stages to release, while the last one is still being read
#define RELEASED(k) ((k) - 1)
#endif
#ifndef SWIZZLE
#define SWIZZLE 1
#endif
#ifndef STORES_IN_FLIGHT
#define STORES_IN_FLIGHT 1
#endif

struct alignas(64) TensorMap {
  unsigned char bytes[128];
};

constexpr int stages = 4, tile_m = 128, tile_n = 64, tile_k = 64;
constexpr uint32_t a_bytes = tile_m * tile_k * 2, b_bytes = tile_n * tile_k * 2, stage_bytes = a_bytes + b_bytes;
constexpr uint32_t half_bytes = 64 * 32 * 4;  // half of a warpgroup's 64 x 64 numbers: a box of 32 columns

__device__ uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }
__device__ void init(uint32_t object, uint32_t count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(object), "r"(count) : "memory");
}
__device__ void arrive(uint32_t object) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(object) : "memory");
}
__device__ void wait(uint32_t object, uint32_t parity) {
  asm volatile(
      "{ .reg .pred p;\nAGAIN: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@!p bra AGAIN; }" ::"r"(object),
      "r"(parity)
      : "memory");
}
__device__ void load(uint32_t to, const TensorMap& map, int x, int y, uint32_t object, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%2, "
      "%3}], [%4], %5;" ::"r"(to),
      "l"(&map), "r"(x), "r"(y), "r"(object), "l"(policy)
      : "memory");
}
__device__ uint64_t descriptor(uint32_t address) {  // K-major, 128-byte swizzle: groups of 8 rows are 1024 bytes apart
  return static_cast<uint64_t>((address & 0x3ffff) >> 4) | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 |
         uint64_t{SWIZZLE} << 62;
}

__device__ void multiply(float (&d)[32], uint64_t a, uint64_t b) {
  asm volatile(
      "{ .reg .pred p; setp.eq.u32 p, 0, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%"
      "30,%31},"
      " %32, %33, p, 1, 1, 0, 0; }"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]),
        "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),
        "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
        "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
      : "l"(a), "l"(b));
}

__device__ void produce(uint32_t ring, uint32_t full, uint32_t empty, const TensorMap& a, const TensorMap& b,
                        int k_tiles) {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_last.b64 %0;" : "=l"(policy));
  for (int k = 0; k < k_tiles; k++) {
    const int stage = k % stages, round = k / stages;
#ifndef NO_EMPTY_WAIT
    wait(empty + 8 * stage, PRODUCER_PARITY(round));
#endif
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(full + 8 * stage), "r"(EXPECTED)
                 : "memory");
    const uint32_t to = ring + stage * stage_bytes;
    load(to, a, k * tile_k, blockIdx.y * tile_m, full + 8 * stage, policy);
    load(to + a_bytes, b, k * tile_k, blockIdx.x * tile_n, full + 8 * stage, policy);
  }
}

__device__ void consume(float (&d)[32], uint32_t ring, uint32_t full, uint32_t empty, int k_tiles, int group) {
  for (int k = 0; k < k_tiles; k++) {
    const int stage = k % stages, round = k / stages;
    wait(full + 8 * stage, CONSUMER_PARITY(round));
    const uint32_t a = ring + stage * stage_bytes + group * (a_bytes / 2), b = ring + stage * stage_bytes + a_bytes;
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
    for (int i = 0; i < tile_k / 16; i++) multiply(d, descriptor(a + 32 * i), descriptor(b + 32 * i));
    asm volatile("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 1;" ::: "memory");
    if (RELEASED(k) >= 0 && threadIdx.x % 128 == 0) arrive(empty + 8 * (RELEASED(k) % stages));
  }
#ifndef NO_LAST_WAIT
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#endif
}

__device__ void store(const float (&d)[32], float* out, const TensorMap& map, int group) {
  const int thread = threadIdx.x % 128, lane = thread % 32;
  for (int i = 0; i < 32; i++) {
    const int row = thread / 32 * 16 + lane / 4 + 8 * (i / 2 % 2), column = 8 * (i / 4) + 2 * (lane % 4) + i % 2;
    out[column / 32 * 64 * 32 + row * 32 + column % 32] = d[i];
  }
#ifndef NO_PROXY_FENCE
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
  asm volatile("bar.sync %0, 128;" ::"r"(1 + group) : "memory");
  if (thread != 0) return;
  for (int half = 0; half < 2; half++)
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&map),
                 "r"(int(blockIdx.x * tile_n + 32 * half)), "r"(int(blockIdx.y * tile_m + 64 * group)),
                 "r"(shared_address(out) + half * half_bytes)
                 : "memory");
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#ifndef NO_STORE_WAIT
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
#endif
}

// c = a b^T, bf16 in, f32 out; k is a multiple of 64, m and n are in the tensor maps.
extern "C" __global__ void __launch_bounds__(384)
    ring_gemm(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b,
              const __grid_constant__ TensorMap c, int k_tiles) {
  extern __shared__ __align__(1024) unsigned char shared[];
  __shared__ uint64_t full[stages], empty[stages];
  const uint32_t ring = shared_address(shared), first_full = shared_address(full), first_empty = shared_address(empty);
  if (threadIdx.x == 0) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(&a) : "memory");
    for (int i = 0; i < stages; i++) init(first_full + 8 * i, 1), init(first_empty + 8 * i, 2);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  asm volatile("griddepcontrol.wait;" ::: "memory");
  if (threadIdx.x < 128) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    uint32_t elected;
    asm volatile("{ .reg .pred p; elect.sync _|p, 0xffffffff; selp.u32 %0, 1, 0, p; }" : "=r"(elected));
    if (threadIdx.x < 32 && elected) produce(ring, first_full, first_empty, a, b, k_tiles);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    const int group = threadIdx.x / 128 - 1;
    float d[32] = {};
    consume(d, ring, first_full, first_empty, k_tiles, group);
    store(d, reinterpret_cast<float*>(shared + stages * stage_bytes + group * 2 * half_bytes), c, group);
  }
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// out[i] = i for 128 * n numbers, by one warp with two buffers in turn.
extern "C" __global__ void bulk_stores(float* out, int n) {
  __shared__ __align__(128) float buffer[2][128];
  for (int i = 0; i < n; i++) {
    // The previous store from this buffer must have read it.
    if (threadIdx.x == 0) {
      if (i < 5)
        asm volatile("cp.async.bulk.wait_group.read 1;" ::: "memory");
      else
        asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(STORES_IN_FLIGHT) : "memory");
    }
    __syncwarp();
    for (int j = threadIdx.x; j < 128; j += 32) buffer[i % 2][j] = i * 128 + j;
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncwarp();
    if (threadIdx.x == 0) {
      asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], 512;" ::"l"(out + i * 128),
                   "r"(shared_address(buffer[i % 2]))
                   : "memory");
      asm volatile("cp.async.bulk.commit_group;" ::: "memory");
    }
  }
  if (threadIdx.x == 0) asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}
