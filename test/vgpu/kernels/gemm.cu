// c[m][n] = sum over k of a[m][k] b[n][k], bf16 in, f32 out; k and n are multiples of 8. Tiles of 128 x 128 x 32, a
// ring of three stages filled by cp.async, rows of 64 bytes with swizzled 16-byte chunks, ldmatrix, mma.sync. The
// macros introduce faults.
#include <cuda_bf16.h>
#include <cstdint>

#ifndef PENDING
#define PENDING 1  // groups that may still be in flight when a stage is read
#endif
#ifndef MISALIGN
#define MISALIGN 0
#endif
#ifndef SWAPPED
#define SWAPPED 0  // swaps the registers of B
#endif

constexpr int kTile = 128, kDepth = 32, kStages = 3, kThreads = 256;
constexpr int kStageBytes = 2 * kTile * kDepth * 2;

#ifdef NO_SWIZZLE
__device__ uint32_t swizzled(int row, int chunk) { return row * 64 + (chunk << 4); }
#else
__device__ uint32_t swizzled(int row, int chunk) { return row * 64 + ((chunk ^ (row >> 1 & 3)) << 4); }
#endif

__device__ void load_tile(uint32_t shared, const __nv_bfloat16* from, int first, int rows, int k0, int k) {
  for (int i = threadIdx.x; i < kTile * 4; i += kThreads) {
    const int row = i / 4, chunk = i % 4;
    const bool inside = first + row < rows && k0 + chunk * 8 < k;
#ifdef NO_BOUND
    const void* source = from + (first + row) * k + k0 + chunk * 8;
    const int bytes = 16;
#else
    const void* source = inside ? from + (first + row) * k + k0 + chunk * 8 : from;
    const int bytes = inside ? 16 : 0;
#endif
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared + swizzled(row, chunk)), "l"(source),
                 "r"(bytes));
  }
}

extern "C" __global__ void __launch_bounds__(kThreads)
    gemm(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, int m, int n, int k) {
  __shared__ __align__(128) unsigned char buffer[kStages * kStageBytes];
  const uint32_t base = static_cast<uint32_t>(__cvta_generic_to_shared(buffer));
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int row0 = blockIdx.y * kTile, column0 = blockIdx.x * kTile;
  const int warp_m = warp / 4 * 64, warp_n = warp % 4 * 32;
  const int steps = (k + kDepth - 1) / kDepth;
  auto fill = [&](int step) {
    if (step < steps) {
      const uint32_t stage = base + step % kStages * kStageBytes;
      load_tile(stage, a, row0, m, step * kDepth, k);
      load_tile(stage + kTile * 64, b, column0, n, step * kDepth, k);
    }
    asm volatile("cp.async.commit_group;");
  };
  float sum[4][4][4] = {};
  fill(0);
  fill(1);
  for (int step = 0; step < steps; step++) {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING));
#ifndef NO_BARRIER
    __syncthreads();
#endif
    fill(step + 2);
    const uint32_t stage = base + step % kStages * kStageBytes;
    for (int k16 = 0; k16 < 2; k16++) {
      uint32_t fa[4][4], fb[4][2];
      for (int i = 0; i < 4; i++) {
        const uint32_t at = stage + swizzled(warp_m + 16 * i + lane % 16, 2 * k16 + lane / 16) + MISALIGN;
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(fa[i][0]), "=r"(fa[i][1]), "=r"(fa[i][2]), "=r"(fa[i][3])
                     : "r"(at)
                     : "memory");
      }
      for (int j = 0; j < 4; j += 2) {
        const uint32_t at =
            stage + kTile * 64 + swizzled(warp_n + 8 * j + lane % 8 + lane / 16 * 8, 2 * k16 + lane / 8 % 2);
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(fb[j][0]), "=r"(fb[j][1]), "=r"(fb[j + 1][0]), "=r"(fb[j + 1][1])
                     : "r"(at)
                     : "memory");
      }
      for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
          asm volatile(
              "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
              "{%0,%1,%2,%3};"
              : "+f"(sum[i][j][0]), "+f"(sum[i][j][1]), "+f"(sum[i][j][2]), "+f"(sum[i][j][3])
              : "r"(fa[i][0]), "r"(fa[i][1]), "r"(fa[i][2]), "r"(fa[i][3]), "r"(fb[j][SWAPPED]), "r"(fb[j][!SWAPPED]));
    }
  }
  asm volatile("cp.async.wait_all;");
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++)
      for (int h = 0; h < 2; h++) {
        const int row = row0 + warp_m + 16 * i + lane / 4 + 8 * h, column = column0 + warp_n + 8 * j + lane % 4 * 2;
        if (row < m && column < n)
          *reinterpret_cast<float2*>(c + row * n + column) = make_float2(sum[i][j][2 * h], sum[i][j][2 * h + 1]);
      }
}
