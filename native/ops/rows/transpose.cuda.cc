#include "ops/rows/transpose.h"

#include "ops/rows/transpose.kernels.h"
#include "ops/rows/units.cuda.h"

namespace caracal::cuda {

void run(const Transpose& op, std::span<Tensor> out, Cuda& cuda) {
  const int64_t rows = op.x.shape[0], columns = op.x.shape[1];
  const int64_t across = divide_up(columns, kTransposeTile), down = divide_up(rows, kTransposeTile);
  cuda.launch(entry_of(kTranspose, unit_name(dtype_bytes(op.x.dtype))), {{unsigned(across * down)}, kTransposeThreads},
              address(op.x), address(out[0]), rows, columns, across);
}

}  // namespace caracal::cuda
