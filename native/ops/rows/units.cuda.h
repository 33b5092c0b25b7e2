#pragma once
// Rows are moved as bytes, in the widest units that their length and addresses allow. Plain functions of sizes.
#include "cuda/implement.h"

namespace caracal::cuda {

// 16, 4, 2 or 1: the widest that divides every length and address.
inline size_t unit_bytes(std::initializer_list<size_t> lengths, std::initializer_list<const void*> addresses) {
  size_t all = 16;
  for (size_t n : lengths) all |= n;
  for (const void* p : addresses) all |= reinterpret_cast<uintptr_t>(p);
  return all % 16 == 0 ? 16 : all % 4 == 0 ? 4 : all % 2 == 0 ? 2 : 1;
}

inline std::string unit_name(size_t unit) { return "b" + std::to_string(unit); }  // as lanes.cuh calls them

// As many lanes of a block for each row as its items can use: many short rows to a block, or one long one.
struct RowLanes {
  Grid grid;
  unsigned threads;
  int shift;  // a row has 1 << shift lanes
};
inline RowLanes row_lanes(int64_t rows, int64_t items) {
  constexpr int kThreads = 256, kMostShift = 8;
  int shift = 0;
  while (shift < kMostShift && (int64_t{1} << shift) < items) shift++;
  const int64_t rows_per_block = kThreads >> shift;
  return {{items > 0 ? static_cast<unsigned>((rows + rows_per_block - 1) / rows_per_block) : 0}, kThreads, shift};
}

}  // namespace caracal::cuda
