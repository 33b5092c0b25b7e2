#include "ops/rows/mask_rows.h"

#include "ops/rows/mask_rows.kernels.h"
#include "ops/rows/units.cuda.h"

namespace caracal::cuda {

void run(const MaskRows& op, std::span<Tensor> out, Cuda& cuda) {
  const size_t sequence_bytes = op.x.bytes() / op.sequences(), row_bytes = op.x.shape[-1] * dtype_bytes(op.x.dtype);
  const size_t unit = unit_bytes({row_bytes}, {address(op.x), address(out[0])});
  const int64_t units = sequence_bytes / unit;
  for (int64_t first = 0; first < op.sequences(); first += MaskLengths::kMaxSequences) {
    const int64_t n = std::min<int64_t>(MaskLengths::kMaxSequences, op.sequences() - first);
    MaskLengths lengths{};
    for (int64_t s = 0; s < n; s++) lengths.units[s] = op.lengths[first + s] * int64_t(row_bytes / unit);
    cuda.launch(entry_of(kMaskRows, unit_name(unit)),
                {{unsigned(divide_up(units, kMaskThreads)), unsigned(n)}, kMaskThreads},
                op.x.data<std::byte>() + first * sequence_bytes, out[0].data<std::byte>() + first * sequence_bytes,
                units, lengths);
  }
}

}  // namespace caracal::cuda
