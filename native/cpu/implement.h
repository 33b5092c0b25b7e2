#pragma once
// What every ops/**/*.cpu.cc includes: the SIMD layer, the threads, and the choice of a C++ type from a dtype.
#include <span>

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

// fn(first, count) for every group of sixteen columns; count is less than 16 in the last one only.
template <class Fn>
CARACAL_INLINE void for_columns(int64_t columns, Fn&& fn) {
  int64_t i = 0;
  for (; i + 16 <= columns; i += 16) fn(i, 16);
  if (i < columns) fn(i, static_cast<int>(columns - i));
}

// Rows that one work item of a row-wise operation takes: enough that handing it out costs nothing.
inline int64_t rows_per_item(int64_t columns) {
  const int64_t rows = 16384 / (columns > 0 ? columns : 1);
  return rows > 0 ? rows : 1;
}

// fn(row) for every row in [0, rows), shared out in blocks.
template <class Fn>
void for_rows(Cpu& cpu, int64_t rows, int64_t columns, Fn&& fn) {
  const int64_t block = rows_per_item(columns);
  cpu.parallel_for((rows + block - 1) / block, [&](int64_t item, int) {
    const int64_t end = rows < (item + 1) * block ? rows : (item + 1) * block;
    for (int64_t row = item * block; row < end; row++) fn(row);
  });
}

// fn(first, count) for blocks of an elementwise operation.
template <class Fn>
void for_blocks(Cpu& cpu, int64_t elements, Fn&& fn) {
  constexpr int64_t block = 16384;
  cpu.parallel_for((elements + block - 1) / block, [&](int64_t item, int) {
    const int64_t first = item * block;
    fn(first, elements - first < block ? elements - first : block);
  });
}

}  // namespace caracal::CARACAL_ISA
