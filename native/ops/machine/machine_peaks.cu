// Peak throughput: loops of one kind of instruction. The results are written only if they have a value that they cannot
// have, so the compiler must keep the loops.
#include "cuda/device/index.cuh"
#include "cuda/ptx/matrix.cuh"
#include "ops/machine/machine_peaks.kernels.h"

namespace caracal {

// kPeakChains multiply-adds per step and thread.
CARACAL_KERNEL(kPeakFma, peak_fma, __launch_bounds__(kPeakThreads, 4), int steps, float* unwritten) {
  float sum[kPeakChains];
#pragma unroll
  for (int c = 0; c < kPeakChains; c++) sum[c] = threadIdx.x + c;
#pragma unroll 4
  for (int i = 0; i < steps; i++)
#pragma unroll
    for (int c = 0; c < kPeakChains; c++) sum[c] = fmaf(sum[c], 0.999f, 1e-3f);
  float total = 0;
#pragma unroll
  for (int c = 0; c < kPeakChains; c++) total += sum[c];
  if (total == -1) *unwritten = total;
}

// kPeakChains products of 16 x 16 x 8 per step and warp.
CARACAL_KERNEL(kPeakMatrix, peak_matrix, __launch_bounds__(kPeakThreads, 2), int steps, float* unwritten) {
  // bf16 numbers near 1
  const uint32_t lane = threadIdx.x % kWarp;
  const uint32_t a[4] = {0x3f803f80 + lane, 0x3f803f81 + lane, 0x3f803f82 + lane, 0x3f803f83 + lane};
  float sum[kPeakChains][4] = {};
#pragma unroll 2
  for (int i = 0; i < steps; i++)
#pragma unroll
    for (int c = 0; c < kPeakChains; c++) ptx::mma_m16n8k16(sum[c], a, 0x3f803f80 + c, 0x3f803f80 + lane);
  float total = 0;
#pragma unroll
  for (int c = 0; c < kPeakChains; c++) total += sum[c][0] + sum[c][1] + sum[c][2] + sum[c][3];
  if (total == -1) *unwritten = total;
}

// Reads every float4 once; a thread has four loads in flight.
CARACAL_KERNEL(kPeakRead, peak_read, __launch_bounds__(kPeakThreads, 4), const float4* from, long long vectors,
               float* unwritten) {
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  float total = 0;
  long long i = grid_thread_index();
  for (; i + 3 * step < vectors; i += 4 * step) {
    float4 v[4];
#pragma unroll
    for (int j = 0; j < 4; j++) v[j] = from[i + j * step];
#pragma unroll
    for (int j = 0; j < 4; j++) total += v[j].x + v[j].y + v[j].z + v[j].w;
  }
  for (; i < vectors; i += step) total += from[i].x + from[i].y + from[i].z + from[i].w;
  if (total == -1) *unwritten = total;
}

CARACAL_KERNEL(kPeakResults, peak_results, , float fma, float matrix, float read, float* out) {
  out[0] = fma, out[1] = matrix, out[2] = read;
}

}  // namespace caracal
