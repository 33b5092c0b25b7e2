#pragma once
// Helpers of the operations that move rows.
#include <cstring>

#include "core/math.h"
#include "cpu/implement.h"
#include "ops/rows/row_id.h"

namespace caracal::CARACAL_ISA {

inline void check_row(const char* op, const char* argument, int64_t id, int64_t position, int64_t rows) {
  if (id >= 0 && id < rows) return;
  throw row_id_error(op, argument, id, position, rows);
}

// Copies n elements. Types that differ must be f32 and bf16.
inline void convert_row(const std::byte* x, DType from, std::byte* y, DType to, int64_t n) {
  if (from == to) {
    if (n > 0) std::memcpy(y, x, n * dtype_bytes(from));
  } else if (to == DType::bf16) {
    for_columns(n, [&](int64_t i, int count) {
      store(reinterpret_cast<bf16*>(y) + i, load(reinterpret_cast<const float*>(x) + i, count), count);
    });
  } else {
    for_columns(n, [&](int64_t i, int count) {
      store(reinterpret_cast<float*>(y) + i, load(reinterpret_cast<const bf16*>(x) + i, count), count);
    });
  }
}

// memcpy by all threads, since a single thread does not saturate memory bandwidth.
inline void copy_bytes(Cpu& cpu, std::byte* to, const std::byte* from, size_t bytes) {
  constexpr size_t block = size_t{1} << 18;
  cpu.parallel_for(static_cast<int64_t>(divide_up(bytes, block)), [&](int64_t item, int) {
    const size_t first = static_cast<size_t>(item) * block;
    std::memcpy(to + first, from + first, bytes - first < block ? bytes - first : block);
  });
}

}  // namespace caracal::CARACAL_ISA
