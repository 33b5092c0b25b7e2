#include "ops/rows/gather_rows.h"

#include "ops/rows/gather_rows.kernels.h"
#include "ops/rows/row_id.h"
#include "ops/rows/units.cuda.h"

namespace caracal::cuda {
namespace {

template <class Op>
void gather(const Tensor& x, const Tensor& rows, bool allow_negative, const Tensor& out, Cuda& cuda) {
  const int64_t table = x.shape[0], n = rows.shape.elements();
  int64_t columns = 1;
  for (int i = 1; i < x.shape.rank(); i++) columns *= x.shape[i];
  Fault* fault =
      cuda.fault([table](const Fault& f) { return row_id_error(Op::kName, Op::kIds, f.value, f.position, table); });
  auto launch = [&](const auto& entry, int64_t items, auto... aligned) {
    const RowLanes lanes = row_lanes(n, items);
    cuda.launch(entry, {lanes.grid, lanes.threads}, address(x), rows.data<int>(), address(out), n, items, table,
                lanes.shift, allow_negative, fault, aligned...);
  };
  if (out.dtype == x.dtype) {
    const size_t bytes = columns * dtype_bytes(x.dtype);
    const size_t unit = unit_bytes({bytes}, {address(x), address(out)});
    launch(entry_of(kGatherRows, unit_name(unit)), bytes / unit);
  } else {
    const int64_t vector = vector_elements(DType::f32, columns, {address(x), address(out)});
    launch(entry_of(kGatherConvertedRows, x.dtype, out.dtype), columns / vector, vector > 1);
  }
}

}  // namespace

void run(const GatherRows& op, std::span<Tensor> out, Cuda& cuda) {
  gather<GatherRows>(op.x, op.rows, false, out[0], cuda);
}
void run(const Embedding& op, std::span<Tensor> out, Cuda& cuda) {
  gather<Embedding>(op.table, op.ids, op.allow_negative, out[0], cuda);
}

}  // namespace caracal::cuda
