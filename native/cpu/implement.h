#pragma once
// Included by every ops/**/*.cpu.cc: the SIMD layer, loops on the device's threads, and the choice of a C++ type by dtype.
#include <algorithm>
#include <span>

#include "core/math.h"
#include "cpu/cpu.h"
#include "cpu/simd.h"

namespace caracal::CARACAL_ISA {

template <class T>
struct Type {
  using type = T;
};

// Calls fn(Type<T>{}) with the element type of activations: float or bf16.
template <class Fn>
void by_activation_type(DType dtype, Fn&& fn) {
  if (dtype == DType::bf16)
    fn(Type<bf16>{});
  else
    fn(Type<float>{});
}

// Calls fn(first, count) for every group of sixteen columns; only the last group may have fewer.
template <class Fn>
CARACAL_INLINE void for_columns(int64_t columns, Fn&& fn) {
  int64_t i = 0;
  for (; i + 16 <= columns; i += 16) fn(i, 16);
  if (i < columns) fn(i, static_cast<int>(columns - i));
}

// The elements in a work item: enough to make the cost of scheduling it negligible.
inline constexpr int64_t kItemElements = 16384;

inline int64_t rows_per_item(int64_t columns) {
  return std::max<int64_t>(kItemElements / std::max<int64_t>(columns, 1), 1);
}

// Calls fn(row) for every row in [0, rows), in blocks of rows_per_item(columns).
template <class Fn>
void for_rows(Cpu& cpu, int64_t rows, int64_t columns, Fn&& fn) {
  const int64_t block = rows_per_item(columns);
  cpu.parallel_for(divide_up(rows, block), [&](int64_t item, int) {
    const int64_t end = std::min((item + 1) * block, rows);
    for (int64_t row = item * block; row < end; row++) fn(row);
  });
}

// Calls fn(first, count) for blocks of the elements of an elementwise operation.
template <class Fn>
void for_blocks(Cpu& cpu, int64_t elements, Fn&& fn) {
  cpu.parallel_for(divide_up(elements, kItemElements), [&](int64_t item, int) {
    const int64_t first = item * kItemElements;
    fn(first, std::min(kItemElements, elements - first));
  });
}

}  // namespace caracal::CARACAL_ISA
