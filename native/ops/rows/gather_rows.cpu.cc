#include "ops/rows/gather_rows.h"

#include "ops/rows/rows.cpu.h"

namespace caracal::CARACAL_ISA {
namespace {

template <class Op>
void gather(const Tensor& x, const Tensor& rows, bool allow_negative, const Tensor& out, Cpu& cpu) {
  const int64_t table_rows = x.shape[0];
  int64_t columns = 1;
  for (int i = 1; i < x.shape.rank(); i++) columns *= x.shape[i];
  const int32_t* ids = rows.data<int32_t>();
  const size_t in_bytes = columns * dtype_bytes(x.dtype);
  const size_t out_bytes = columns * dtype_bytes(out.dtype);
  for_rows(cpu, rows.shape.elements(), columns, [&](int64_t i) {
    std::byte* y = out.data<std::byte>() + i * out_bytes;
    if (ids[i] < 0 && allow_negative) {
      if (out_bytes > 0) std::memset(y, 0, out_bytes);
      return;
    }
    check_row(Op::kName, Op::kIds, ids[i], i, table_rows);
    convert_row(x.data<std::byte>() + ids[i] * in_bytes, x.dtype, y, out.dtype, columns);
  });
}

}  // namespace

void run(const GatherRows& op, std::span<Tensor> out, Cpu& cpu) {
  gather<GatherRows>(op.x, op.rows, false, out[0], cpu);
}
void run(const Embedding& op, std::span<Tensor> out, Cpu& cpu) {
  gather<Embedding>(op.table, op.ids, op.allow_negative, out[0], cpu);
}

}  // namespace caracal::CARACAL_ISA
