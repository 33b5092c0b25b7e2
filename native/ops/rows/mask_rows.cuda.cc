#include "ops/rows/mask_rows.h"

#include "ops/rows/mask_rows.kernels.h"
#include "ops/rows/units.cuda.h"

namespace caracal::cuda {

void run(const MaskRows& op, std::span<Tensor> out, Cuda& cuda) {
  const size_t sequence = op.x.bytes() / op.sequences(), row = op.x.shape[-1] * dtype_bytes(op.x.dtype);
  const size_t unit = unit_bytes({row}, {address(op.x), address(out[0])});
  constexpr unsigned kThreads = 256;
  const size_t units = sequence / unit, blocks = (units + kThreads - 1) / kThreads;
  for (int64_t first = 0; first < op.sequences(); first += MaskLengths::kMost) {
    const int64_t n = std::min<int64_t>(MaskLengths::kMost, op.sequences() - first);
    MaskLengths lengths{};
    for (int64_t s = 0; s < n; s++) lengths.kept[s] = op.lengths[first + s] * static_cast<int64_t>(row / unit);
    cuda.launch(entry_of(kMaskRows, unit_name(unit)), {{unsigned(blocks), unsigned(n)}, kThreads},
                op.x.data<std::byte>() + first * sequence, out[0].data<std::byte>() + first * sequence, int64_t(units),
                lengths);
  }
}

}  // namespace caracal::cuda
