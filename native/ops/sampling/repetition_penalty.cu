// After a copy of the logits, one thread per entry of the history counts how often its id occurs in the row; the first
// of equal entries penalises the logit. That is W² comparisons with ids that shared memory broadcasts: negligible for 30
// ids, and for a few thousand.
#include "cuda/device/element.cuh"
#include "cuda/device/index.cuh"
#include "ops/sampling/penalty.h"
#include "ops/sampling/repetition_penalty.kernels.h"

namespace caracal {

template <class T>
__device__ inline void repetition_penalty(const int* history, long long window, T* y, long long columns, double penalty,
                                          Fault* fault) {
  __shared__ int chunk[kPenaltyThreads];
  history += blockIdx.x * window;
  const long long entry = blockIdx.y * static_cast<long long>(kPenaltyThreads) + threadIdx.x;
  const int id = entry < window ? history[entry] : -1;
  long long count = 0;
  bool first = id >= 0;
  for (long long at = 0; at < window; at += kPenaltyThreads) {
    const int n = static_cast<int>(window - at < kPenaltyThreads ? window - at : kPenaltyThreads);
    __syncthreads();
    if (threadIdx.x < n) chunk[threadIdx.x] = history[at + threadIdx.x];
    __syncthreads();
    for (int i = 0; i < n; i++) {
      if (chunk[i] != id) continue;
      count++;
      if (at + i < entry) first = false;
    }
  }
  if (!first) return;
  if (id >= columns) return raise(fault, 0, blockIdx.x * window + entry, id);
  T* const logit = y + blockIdx.x * columns + id;
  *logit = from_float<T>(penalised(to_float(*logit), penalty, count));
}

#define CARACAL_REPETITION_PENALTY(T)                                                                                \
  CARACAL_KERNEL(kRepetitionPenalty, repetition_penalty_##T, __launch_bounds__(kPenaltyThreads), const int* history, \
                 long long window, T* y, long long columns, double penalty, Fault* fault) {                          \
    repetition_penalty<T>(history, window, y, columns, penalty, fault);                                              \
  }
CARACAL_REPETITION_PENALTY(f32)
CARACAL_REPETITION_PENALTY(bf16)
#undef CARACAL_REPETITION_PENALTY

}  // namespace caracal
