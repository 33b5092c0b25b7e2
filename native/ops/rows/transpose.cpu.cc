#include "ops/rows/transpose.h"

#include "ops/rows/rows.cpu.h"

namespace caracal::CARACAL_ISA {

// Elements of one size, in square tiles: the lines of a tile's rows and columns stay in the first cache.
template <class T>
static void transpose(const T* x, T* y, int64_t rows, int64_t columns, Cpu& cpu) {
  constexpr int64_t tile = 32;
  cpu.parallel_for(divide_up(columns, tile), [&](int64_t item, int) {
    const int64_t first = item * tile, last = std::min(first + tile, columns);
    for (int64_t top = 0; top < rows; top += tile)
      for (int64_t c = first; c < last; c++)
        for (int64_t r = top; r < std::min(top + tile, rows); r++) y[c * rows + r] = x[r * columns + c];
  });
}

void run(const Transpose& op, std::span<Tensor> out, Cpu& cpu) {
  const auto by_size = [&](auto element) {
    using T = decltype(element);
    transpose(op.x.data<T>(), out[0].data<T>(), op.x.shape[0], op.x.shape[1], cpu);
  };
  switch (dtype_bytes(op.x.dtype)) {
    case 1: return by_size(uint8_t{});
    case 2: return by_size(uint16_t{});
    default: return by_size(uint32_t{});
  }
}

}  // namespace caracal::CARACAL_ISA
