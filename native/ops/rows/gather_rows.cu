// Memory-bound: per id, 4 bytes and a row are read and a row is written: 12 KiB each way for 6144 bf16.
#include "ops/rows/gather_rows.kernels.h"
#include "ops/rows/units.cuh"

namespace caracal {

// Moves V elements through f32, or one unit of bytes as it is. Writes zeros if the row does not exist.
template <class X, class Y, int V>
__device__ inline void move_item(const X* x, Y* y, bool exists) {
  if constexpr (V == 1 && std::is_same_v<X, Y>) {
    *y = exists ? *x : Y{};
  } else {
    float v[V] = {};
    if (exists) load<V>(x, v);
    store<V>(y, v);
  }
}

// A row has `items` times V elements. A row that does not exist reads as zeros.
template <class X, class Y, int V>
__device__ inline void gather_rows(const X* x, const int* rows, Y* y, long long n, long long items, long long table,
                                   int shift, bool allow_negative, Fault* fault) {
  const RowLane lane(shift);
  if (lane.row >= n) return;
  const int id = rows[lane.row];
  const bool exists = id >= 0 && id < table;
  if (!exists && !(id < 0 && allow_negative) && lane.first == 0) raise(fault, 0, lane.row, id);
  x += id * items * V;
  y += lane.row * items * V;
  for (long long i = lane.first; i < items; i += lane.step) move_item<X, Y, V>(x + i * V, y + i * V, exists);
}

#define CARACAL_GATHER_UNITS(U)                                                                                   \
  CARACAL_KERNEL(kGatherRows, gather_rows_##U, , const U* x, const int* rows, U* y, long long n, long long items, \
                 long long table, int shift, bool allow_negative, Fault* fault) {                                 \
    gather_rows<U, U, 1>(x, rows, y, n, items, table, shift, allow_negative, fault);                              \
  }
CARACAL_GATHER_UNITS(b16)
CARACAL_GATHER_UNITS(b4)
CARACAL_GATHER_UNITS(b2)
CARACAL_GATHER_UNITS(b1)
#undef CARACAL_GATHER_UNITS

#define CARACAL_GATHER_CONVERT(X, Y)                                                                             \
  CARACAL_KERNEL(kGatherConvertedRows, gather_rows_##X##_##Y, , const X* x, const int* rows, Y* y, long long n,  \
                 long long items, long long table, int shift, bool allow_negative, Fault* fault, bool aligned) { \
    if (aligned)                                                                                                 \
      gather_rows<X, Y, kVector<f32>>(x, rows, y, n, items, table, shift, allow_negative, fault);                \
    else                                                                                                         \
      gather_rows<X, Y, 1>(x, rows, y, n, items, table, shift, allow_negative, fault);                           \
  }
CARACAL_GATHER_CONVERT(f32, bf16)
CARACAL_GATHER_CONVERT(bf16, f32)
#undef CARACAL_GATHER_CONVERT

}  // namespace caracal
