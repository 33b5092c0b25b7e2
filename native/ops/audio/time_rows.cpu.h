#pragma once
// Rows of a sequence by time, for the CPU implementations of streaming.h.
#include <cstring>
#include <optional>

#include "core/tensor.h"
#include "cpu/implement.h"

namespace caracal::CARACAL_ISA {

template <class T>
struct TimeRows {
  const T* x = nullptr;
  int64_t rows = 0;
  int64_t channels = 0;
  const T* state = nullptr;
  int64_t state_rows = 0;

  // Row t; the state's rows have negative times. Null where the sequence is zero.
  const T* at(int64_t t) const {
    if (t >= 0) return t < rows ? x + t * channels : nullptr;
    return t >= -state_rows ? state + (state_rows + t) * channels : nullptr;
  }
};

template <class T>
TimeRows<T> time_rows(const Tensor& x, const std::optional<Tensor>& state = {}) {
  TimeRows<T> r{x.data<T>(), x.shape[0], x.shape[-1]};
  if (state) {
    r.state = state->data<T>();
    r.state_rows = state->shape[0];
  }
  return r;
}

// Moves a state on: afterwards it holds the last rows of [state; x], which has `rows` like the state's.
inline void advance(const Tensor& state, const std::byte* x, int64_t rows) {
  const size_t row = static_cast<size_t>(state.shape[1]) * dtype_bytes(state.dtype);
  const size_t kept = state.shape[0] > rows ? static_cast<size_t>(state.shape[0] - rows) : 0;
  const size_t fresh = static_cast<size_t>(state.shape[0]) - kept;
  std::byte* s = state.data<std::byte>();
  if (kept > 0) memmove(s, s + fresh * row, kept * row);
  if (fresh > 0) memcpy(s + kept * row, x + (static_cast<size_t>(rows) - fresh) * row, fresh * row);
}
inline void advance(const Tensor& state, const Tensor& x) { advance(state, x.data<std::byte>(), x.shape[0]); }

}  // namespace caracal::CARACAL_ISA
