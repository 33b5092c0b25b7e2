#include "ops/rows/gather_rows.h"

#include "ops/rows/rows.cpu.h"

namespace caracal::CARACAL_ISA {

void run(const GatherRows& op, std::span<Tensor> out, Cpu& cpu) {
  const int64_t table_rows = op.x.shape[0];
  int64_t columns = 1;
  for (int i = 1; i < op.x.shape.rank(); i++) columns *= op.x.shape[i];
  const int32_t* ids = op.rows.data<int32_t>();
  const size_t in_bytes = columns * dtype_bytes(op.x.dtype);
  const size_t out_bytes = columns * dtype_bytes(out[0].dtype);
  for_rows(cpu, op.rows.shape.elements(), columns, [&](int64_t i) {
    std::byte* y = out[0].data<std::byte>() + i * out_bytes;
    if (ids[i] < 0 && op.allow_negative) {
      std::memset(y, 0, out_bytes);
      return;
    }
    check_row(op.kName, "rows", ids[i], i, table_rows);
    convert_row(op.x.data<std::byte>() + ids[i] * in_bytes, op.x.dtype, y, out[0].dtype, columns);
  });
}

}  // namespace caracal::CARACAL_ISA
