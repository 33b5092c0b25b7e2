// The logits were copied; then a thread for each entry of the history counts how often its id stands in the row, and
// the first of equals penalises the logit. W² comparisons with ids that are broadcast from shared memory: for 30 ids, as
// for a few thousand, next to nothing.
#include "cuda/device/element.cuh"
#include "ops/sampling/penalty.h"
#include "ops/sampling/repetition_penalty.kernels.h"

namespace caracal {

template <class T>
__device__ inline void repetition_penalty(const int* history, long long window, T* y, long long columns, double penalty,
                                          Fault* fault) {
  __shared__ int some[kPenaltyThreads];
  history += blockIdx.x * window;
  const long long mine = blockIdx.y * static_cast<long long>(kPenaltyThreads) + threadIdx.x;
  const int id = mine < window ? history[mine] : -1;
  long long count = 0;
  bool first = id >= 0;
  for (long long at = 0; at < window; at += kPenaltyThreads) {
    const int n = static_cast<int>(window - at < kPenaltyThreads ? window - at : kPenaltyThreads);
    __syncthreads();
    if (threadIdx.x < n) some[threadIdx.x] = history[at + threadIdx.x];
    __syncthreads();
    for (int i = 0; i < n; i++) {
      if (some[i] != id) continue;
      count++;
      if (at + i < mine) first = false;
    }
  }
  if (!first) return;
  if (id >= columns) return raise(fault, 0, blockIdx.x * window + mine, id);
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
