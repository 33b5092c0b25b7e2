// A router: softmax over 128 experts per token (a warp), the 8 largest, and the number of times each expert was picked.
#include <cstdint>

extern "C" __global__ void router(const float* logits, float* weights, int* ids, unsigned* counts, int tokens) {
  __shared__ unsigned local[128];
  for (int i = threadIdx.x; i < 128; i += blockDim.x) local[i] = 0;
  __syncthreads();
  const int lane = threadIdx.x % 32, token = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
  if (token < tokens) {
    float x[4], largest = -INFINITY, sum = 0;
    for (int i = 0; i < 4; i++) largest = fmaxf(largest, x[i] = logits[token * 128 + i * 32 + lane]);
    for (int d = 16; d > 0; d /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, d));
    for (int i = 0; i < 4; i++) sum += x[i] = expf(x[i] - largest);
    for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
    for (int k = 0; k < 8; k++) {
      float best = -1;
      int id = 0;
      for (int i = 0; i < 4; i++)
        if (x[i] > best) best = x[i], id = i * 32 + lane;
      for (int d = 16; d > 0; d /= 2) {
        const float other = __shfl_xor_sync(~0u, best, d);
        const int other_id = __shfl_xor_sync(~0u, id, d);
        if (other > best || (other == best && other_id < id)) best = other, id = other_id;
      }
      if (id % 32 == lane) {
        x[id / 32] = -1;
        weights[token * 8 + k] = best / sum;
        ids[token * 8 + k] = id;
        atomicAdd(&local[id], 1u);
      }
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < 128; i += blockDim.x)
    if (local[i]) atomicAdd(&counts[i], local[i]);
}

// Every kind of divergent control flow: loops of different lengths, a switch with fallthrough, continue, goto.
extern "C" __global__ void diverge(const unsigned* in, unsigned* out, int n) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= n) return;
  unsigned x = in[t], sum = 0;
  for (unsigned i = 0; i < x % 37; i++) {
    if ((x >> (i % 32) & 3) == 3) continue;
    switch ((x + i) % 6) {
      case 0: sum += 1;
      case 1: sum ^= i * 2654435761u; break;
      case 2:
        if (sum & 1) goto out_of_here;
      case 3: sum = sum * 5 + x; break;
      case 4:
        for (unsigned j = 0; j < (x ^ i) % 5; j++) sum += j ^ __popc(__activemask() ? x : 0);
        break;
      default: sum = (sum << 3) | (sum >> 29);
    }
    if (i > 30 && sum % 7 == 0) break;
  }
  sum += 17;
out_of_here:
  out[t] = sum ^ x;
}
