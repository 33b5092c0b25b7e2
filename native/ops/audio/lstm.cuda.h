#pragma once
// How the recurrent half of an LSTM is cut into blocks: a pure function of sizes.
#include <algorithm>
#include <optional>

#include "core/dtype.h"
#include "ops/audio/lstm.kernels.h"

namespace caracal::cuda {

struct LstmPlan {
  int units;         // per block
  int cached_units;  // of those, the ones whose weights fit into shared memory
  unsigned blocks, threads;
  size_t shared_bytes;
};

// Steps whose recurrent halves run in one launch. A thread computes the cell of one unit, so on a GPU with fewer
// multiprocessors than hidden / 512, every step is a launch.
inline int64_t lstm_steps_together(int64_t steps, int64_t hidden, int sms) {
  constexpr int64_t kMaxSteps = 1024;  // their input halves are in memory together
  return divide_up(hidden, int64_t{sms}) <= kLstmMaxThreads ? std::min(steps, kMaxSteps) : 1;
}

// A single step uses many small blocks, to keep the memory busy. Several steps use at most one block per
// multiprocessor, so that all blocks run at once and each has all of the shared memory. Empty if h does not fit into
// it.
inline std::optional<LstmPlan> lstm_plan(int64_t hidden, bool several_steps, DType w, int sms, size_t max_shared) {
  constexpr int64_t kSingleStepUnits = 4, kMinUnits = 8, kMaxWarps = kLstmMaxThreads / 32;
  const int64_t units = several_steps ? std::max(divide_up(hidden, int64_t{sms}), kMinUnits) : kSingleStepUnits;
  const int64_t rounds = divide_up(units, kMaxWarps), warps = divide_up(units, rounds);
  const size_t unit_bytes = 4 * size_t(hidden) * dtype_bytes(w);
  const size_t fixed_bytes = size_t(lstm_h_floats(hidden) + lstm_sum_floats(units)) * sizeof(float);
  if (fixed_bytes > max_shared) return std::nullopt;
  const int64_t fitting_units = int64_t((max_shared - fixed_bytes) / unit_bytes);
  const int64_t cached_units = several_steps ? std::min(units, fitting_units) : 0;
  return LstmPlan{int(units), int(cached_units), unsigned(divide_up(hidden, units)), unsigned(32 * warps),
                  fixed_bytes + size_t(cached_units) * unit_bytes};
}

}  // namespace caracal::cuda
