#pragma once
// Reading and advancing the states of streaming.h on the GPU.
#include "cuda/implement.h"
#include "ops/audio/time_rows.h"

namespace caracal::cuda {

inline TimeRows<void> time_rows(const Tensor& x, const std::optional<Tensor>& state = {}) {
  return {address(x), x.shape[0], static_cast<int>(x.shape[-1]), address(state), state ? state->shape[0] : 0};
}

// Advances a state: afterwards it holds the last rows of [state; x]. x has `rows` rows of the state's width.
inline void advance(Cuda& cuda, const Tensor& state, const std::byte* x, int64_t rows) {
  const size_t row_bytes = static_cast<size_t>(state.shape[1]) * dtype_bytes(state.dtype);
  const size_t new_rows = static_cast<size_t>(std::min(state.shape[0], rows));
  const size_t old_rows = static_cast<size_t>(state.shape[0]) - new_rows;
  std::byte* s = state.data<std::byte>();
  if (old_rows > 0 && new_rows > 0) {  // through a buffer: source and destination may overlap
    Temporary<std::byte> moved(cuda, old_rows * row_bytes);
    cuda.copy(moved.data(), s + new_rows * row_bytes, old_rows * row_bytes);
    cuda.copy(s, moved.data(), old_rows * row_bytes);
  }
  cuda.copy(s + old_rows * row_bytes, x + (static_cast<size_t>(rows) - new_rows) * row_bytes, new_rows * row_bytes);
}
inline void advance(Cuda& cuda, const Tensor& state, const Tensor& x) {
  advance(cuda, state, x.data<std::byte>(), x.shape[0]);
}

}  // namespace caracal::cuda
