#pragma once
// Reading and advancing the states of streaming.h on the CPU.
#include <algorithm>
#include <cstring>
#include <optional>

#include "core/tensor.h"
#include "cpu/implement.h"
#include "ops/audio/time_rows.h"

namespace caracal::CARACAL_ISA {

template <class T>
TimeRows<T> time_rows(const Tensor& x, const std::optional<Tensor>& state = {}) {
  return {x.data<T>(), x.shape[0], static_cast<int>(x.shape[-1]), state ? state->data<T>() : nullptr,
          state ? state->shape[0] : 0};
}

// Advances a state: afterwards it holds the last rows of [state; x]. x has `rows` rows of the state's width.
inline void advance(const Tensor& state, const std::byte* x, int64_t rows) {
  if (state.shape.elements() == 0) return;
  const size_t row_bytes = static_cast<size_t>(state.shape[1]) * dtype_bytes(state.dtype);
  const size_t new_rows = static_cast<size_t>(std::min(state.shape[0], rows));
  const size_t old_rows = static_cast<size_t>(state.shape[0]) - new_rows;
  std::byte* s = state.data<std::byte>();
  if (old_rows > 0) memmove(s, s + new_rows * row_bytes, old_rows * row_bytes);
  if (new_rows > 0)
    memcpy(s + old_rows * row_bytes, x + (static_cast<size_t>(rows) - new_rows) * row_bytes, new_rows * row_bytes);
}
inline void advance(const Tensor& state, const Tensor& x) { advance(state, x.data<std::byte>(), x.shape[0]); }

}  // namespace caracal::CARACAL_ISA
