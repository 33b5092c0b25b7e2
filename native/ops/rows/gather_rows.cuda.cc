#include "ops/rows/gather_rows.h"

#include "ops/rows/gather_rows.kernels.h"
#include "ops/rows/row_id.h"
#include "ops/rows/units.cuda.h"

namespace caracal::cuda {

void run(const GatherRows& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t table = op.x.shape[0], n = op.rows.shape.elements();
  int64_t columns = 1;
  for (int i = 1; i < op.x.shape.rank(); i++) columns *= op.x.shape[i];
  Fault* fault = cuda.fault(
      [table](const Fault& f) { return row_id_error(GatherRows::kName, "rows", f.value, f.position, table); });
  auto launch = [&](const auto& entry, int64_t items, auto... aligned) {
    const RowLanes lanes = row_lanes(n, items);
    cuda.launch(entry, {lanes.grid, lanes.threads}, address(op.x), op.rows.data<int>(), address(out[0]), n, items,
                table, lanes.shift, op.allow_negative, fault, aligned...);
  };
  if (out[0].dtype == op.x.dtype) {
    const size_t bytes = columns * dtype_bytes(op.x.dtype);
    const size_t unit = unit_bytes({bytes}, {address(op.x), address(out[0])});
    launch(entry_of(kGatherRows, unit_name(unit)), bytes / unit);
  } else {
    const int64_t vector = vector_elements(DType::f32, columns, {address(op.x), address(out[0])});
    launch(entry_of(kGatherConvertedRows, op.x.dtype, out[0].dtype), columns / vector, vector > 1);
  }
}

}  // namespace caracal::cuda
