#pragma once
#include "cuda/gemm/gemm.kernels.h"

namespace caracal {

// bias, out, elements of out, outputs
inline constexpr Kernel<const void*, float*, long long, int> kRepeatBias{"repeat_bias"};  // repeat_bias_<dtype>

// The products of x's rows, to be added where they overlap. Positions count output rows from the first row of x, before
// padding is cut off.
struct OverlapAdd {
  const float* products;  // [end - begin, taps, outputs], for the rows [begin, end) of x
  long long begin, end;
  const float* carry;  // [carry_rows, outputs], the sums of earlier rows, or null
  long long carry_rows;
  long long taps, stride;
  int outputs;
};

// sums, first position, its output row, rows, epilogue
inline constexpr Kernel<OverlapAdd, long long, long long, long long, LinearEpilogue> kOverlapAdd{"overlap_add"};
// sums, first position, next carry, whether its rows are aligned to 16 bytes
inline constexpr Kernel<OverlapAdd, long long, float*, bool> kOverlapCarry{"overlap_carry"};

}  // namespace caracal
