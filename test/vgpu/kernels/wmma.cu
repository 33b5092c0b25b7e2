// mma.h: one warp multiplies A (M x K, row-major) by B (K x N, column-major) and adds C, in every shape and type.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>

using namespace nvcuda::wmma;

template <int M, int N, int K, class Type, class Memory, class Sum>
__device__ void product(const Memory* a, const Memory* b, const Sum* c, Sum* d) {
  fragment<matrix_a, M, N, K, Type, row_major> fa;
  fragment<matrix_b, M, N, K, Type, col_major> fb;
  fragment<accumulator, M, N, K, Sum> fc;
  load_matrix_sync(fa, a, K);
  load_matrix_sync(fb, b, K);
  load_matrix_sync(fc, c, N, mem_row_major);
  mma_sync(fc, fa, fb, fc);
  for (int i = 0; i < fc.num_elements; i++) fc.x[i] = fc.x[i] + fc.x[i];
  store_matrix_sync(d, fc, N, mem_row_major);
}

#define KERNEL(name, m, n, k, type, memory, sum)                                            \
  extern "C" __global__ void name(const memory* a, const memory* b, const sum* c, sum* d) { \
    product<m, n, k, type>(a, b, c, d);                                                     \
  }
#define SHAPES(name, type, sum)                        \
  KERNEL(name##_16_16_16, 16, 16, 16, type, type, sum) \
  KERNEL(name##_32_8_16, 32, 8, 16, type, type, sum)   \
  KERNEL(name##_8_32_16, 8, 32, 16, type, type, sum)

SHAPES(f16_f32, __half, float)
SHAPES(f16_f16, __half, __half)
SHAPES(bf16_f32, __nv_bfloat16, float)
SHAPES(s8_s32, signed char, int)
SHAPES(u8_s32, unsigned char, int)
KERNEL(tf32_f32_16_16_8, 16, 16, 8, precision::tf32, float, float)
KERNEL(f64_f64_8_8_4, 8, 8, 4, double, double, double)

// The other layouts, through shared memory: A column-major, B row-major, D column-major.
extern "C" __global__ void layouts(const __half* a, const __half* b, float* d) {
  __shared__ __align__(32) __half sa[16 * 24], sb[16 * 24];
  __shared__ __align__(32) float sd[16 * 20];
  for (int i = threadIdx.x; i < 256; i += 32) {
    sa[i % 16 * 24 + i / 16] = a[i];
    sb[i / 16 * 24 + i % 16] = b[i];
  }
  __syncwarp();
  fragment<matrix_a, 16, 16, 16, __half, col_major> fa;
  fragment<matrix_b, 16, 16, 16, __half, row_major> fb;
  fragment<accumulator, 16, 16, 16, float> fc;
  fill_fragment(fc, 0.0f);
  load_matrix_sync(fa, sa, 24);
  load_matrix_sync(fb, sb, 24);
  mma_sync(fc, fa, fb, fc);
  store_matrix_sync(sd, fc, 20, mem_col_major);
  __syncwarp();
  for (int i = threadIdx.x; i < 256; i += 32) d[i] = sd[i % 16 * 20 + i / 16];
}
