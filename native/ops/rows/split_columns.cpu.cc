#include "ops/rows/split_columns.h"

#include "ops/rows/rows.cpu.h"

namespace caracal::CARACAL_ISA {

void run(const SplitColumns& op, std::span<Tensor> out, Cpu& cpu) {
  const size_t element = dtype_bytes(op.x.dtype);
  const int64_t columns = op.x.shape[-1];
  for_rows(cpu, op.x.shape.rows(), columns, [&](int64_t row) {
    const std::byte* x = op.x.data<std::byte>() + row * columns * element;
    for (Tensor& y : out) {
      const size_t bytes = y.shape[-1] * element;
      if (bytes > 0) std::memcpy(y.data<std::byte>() + row * bytes, x, bytes);
      x += bytes;
    }
  });
}

}  // namespace caracal::CARACAL_ISA
