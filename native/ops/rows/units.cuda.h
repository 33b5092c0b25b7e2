#pragma once
// How rows are moved as bytes, in the widest units that their length and addresses allow. Pure functions of sizes.
#include "core/math.h"
#include "cuda/implement.h"

namespace caracal::cuda {

// The largest of 16, 4, 2 and 1 that divides every length and address.
inline size_t unit_bytes(std::initializer_list<size_t> lengths, std::initializer_list<const void*> addresses) {
  size_t bits = 16;
  for (size_t length : lengths) bits |= length;
  for (const void* address : addresses) bits |= reinterpret_cast<uintptr_t>(address);
  return bits % 16 == 0 ? 16 : bits % 4 == 0 ? 4 : bits % 2 == 0 ? 2 : 1;
}

// The unit's type in units.cuh, which is part of the entries' names.
inline std::string unit_name(size_t unit) { return "b" + std::to_string(unit); }

// A row gets as many lanes as it has items, rounded up to a power of two, up to a whole block; short rows share one.
struct RowLanes {
  Grid grid;
  unsigned threads;
  int shift;  // log2 of the lanes per row
};
inline RowLanes row_lanes(int64_t rows, int64_t items) {
  constexpr int kThreads = 256, kMaxShift = 8;
  int shift = 0;
  while (shift < kMaxShift && (int64_t{1} << shift) < items) shift++;
  return {{items > 0 ? unsigned(divide_up(rows, kThreads >> shift)) : 0}, kThreads, shift};
}

}  // namespace caracal::cuda
