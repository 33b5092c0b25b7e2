#pragma once
#include "cuda/implement.h"
#include "ops/audio/time_rows.kernels.h"

namespace caracal::cuda {

inline TimeRows<void> time_rows(const Tensor& x, const std::optional<Tensor>& state = {}) {
  return {address(x), x.shape[0], static_cast<int>(x.shape[-1]), address(state), state ? state->shape[0] : 0};
}

// Moves a state on: afterwards it holds the last rows of [state; x], which has `rows` like the state's.
inline void advance(Cuda& cuda, const Tensor& state, const std::byte* x, int64_t rows) {
  const size_t row = static_cast<size_t>(state.shape[1]) * dtype_bytes(state.dtype);
  const size_t fresh = static_cast<size_t>(std::min(state.shape[0], rows));
  const size_t kept = static_cast<size_t>(state.shape[0]) - fresh;
  std::byte* s = state.data<std::byte>();
  if (kept > 0 && fresh > 0) {  // the two places may overlap
    Cuda::Temporary<std::byte> rest(cuda, kept * row);
    cuda.copy(rest.data(), s + fresh * row, kept * row);
    cuda.copy(s, rest.data(), kept * row);
  }
  cuda.copy(s + kept * row, x + (static_cast<size_t>(rows) - fresh) * row, fresh * row);
}
inline void advance(Cuda& cuda, const Tensor& state, const Tensor& x) {
  advance(cuda, state, x.data<std::byte>(), x.shape[0]);
}

}  // namespace caracal::cuda
