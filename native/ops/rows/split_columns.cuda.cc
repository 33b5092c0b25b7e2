#include "ops/rows/split_columns.h"

#include "ops/rows/split_columns.kernels.h"
#include "ops/rows/units.cuda.h"

namespace caracal::cuda {

void run(const SplitColumns& op, std::span<Tensor> out, Cuda& cuda) {
  const size_t element = dtype_bytes(op.x.dtype), pitch = op.x.shape[-1] * element;
  const int64_t rows = op.x.shape.rows();
  const std::byte* x = op.x.data<std::byte>();
  for (Tensor& y : out) {
    const size_t bytes = y.shape[-1] * element;
    const size_t unit = unit_bytes({bytes, pitch}, {x, address(y)});
    const RowLanes lanes = row_lanes(rows, bytes / unit);
    cuda.launch(entry_of(kCopyColumns, unit_name(unit)), {lanes.grid, lanes.threads}, x, address(y), rows,
                int64_t(bytes / unit), int64_t(pitch / unit), lanes.shift);
    x += bytes;
  }
}

}  // namespace caracal::cuda
