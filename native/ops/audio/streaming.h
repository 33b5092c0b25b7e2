#pragma once
// Checks shared by the streaming operations. A streaming operation reads the sequence [state; x]: `state` holds the
// last rows of everything consumed so far (zeros at the start, which act as zero padding on the left) and is advanced
// in place by x's rows. Any division of a sequence into calls gives the same result, bit for bit.
//
// Some operations advance several streams at once. `state` is then a list, and x's rows are as many equal pieces, in the
// same order; the bits of a piece are those of a call by itself.
#include <vector>

#include "core/check.h"

namespace caracal {

inline bool overlap(const Tensor& a, const Tensor& b) {
  return a.storage == b.storage && a.offset < b.offset + b.bytes() && b.offset < a.offset + a.bytes();
}

// A state is written in place, so it must not overlap any other argument (null where an argument is missing).
inline void check_state(const Checker& c, const Tensor& state, const char* name, DType dtype, const Shape& shape,
                        const std::vector<const Tensor*>& others) {
  c.shape(state, name, shape);
  c.dtype(state, name, {dtype});
  for (const Tensor* other : others)
    if (other && overlap(state, *other))
      c.bad(code::kInvalidArgument, name, "is written in place and must not share memory with another argument");
}

inline constexpr int64_t kMaxStreams = 64;

// The number of pieces of x.
inline int64_t stream_count(const std::vector<Tensor>& states) {
  return states.empty() ? 1 : static_cast<int64_t>(states.size());
}

inline void check_streams(const Checker& c, const Tensor& x, const std::vector<Tensor>& states, const char* name) {
  const int64_t count = stream_count(states);
  if (count > kMaxStreams)
    c.mismatch(code::kInvalidArgument, name, "must hold", "at most " + std::to_string(kMaxStreams) + " states",
               std::to_string(count));
  if (x.shape[0] % count != 0)
    c.bad(code::kShapeMismatch, "x",
          "must have as many rows for each of the " + std::to_string(count) + " states, got " + x.shape.str());
}

// Checks the states of several streams, which are appended to the other arguments.
inline void check_states(const Checker& c, const std::vector<Tensor>& states, const char* name, DType dtype,
                         const Shape& shape, std::vector<const Tensor*>& others) {
  for (const Tensor& state : states) {
    check_state(c, state, name, dtype, shape, others);
    others.push_back(&state);
  }
}

// `count` rows of a tensor, from `first` on.
inline Tensor rows_of(const Tensor& t, int64_t first, int64_t count) {
  Tensor rows = t;
  rows.shape[0] = count;
  if (t.shape[0] > 0) rows.offset += static_cast<size_t>(first) * (t.bytes() / static_cast<size_t>(t.shape[0]));
  return rows;
}

}  // namespace caracal
