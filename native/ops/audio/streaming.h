#pragma once
// Checks shared by the streaming operations. A streaming operation reads the sequence [state; x]: `state` holds the
// last rows of everything consumed so far (zeros at the start, which act as zero padding on the left) and is advanced
// in place by x's rows. Any division of a sequence into calls gives the same result, bit for bit.
#include "core/check.h"

namespace caracal {

inline bool overlap(const Tensor& a, const Tensor& b) {
  return a.storage == b.storage && a.offset < b.offset + b.bytes() && b.offset < a.offset + a.bytes();
}

// A state is written in place, so it must not overlap any other argument (null where an argument is missing).
inline void check_state(const Checker& c, const Tensor& state, const char* name, DType dtype, const Shape& shape,
                        std::initializer_list<const Tensor*> others) {
  c.shape(state, name, shape);
  c.dtype(state, name, {dtype});
  for (const Tensor* other : others)
    if (other && overlap(state, *other))
      c.bad(code::kInvalidArgument, name, "is written in place and must not share memory with another argument");
}

}  // namespace caracal
