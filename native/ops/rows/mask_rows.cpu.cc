#include "ops/rows/mask_rows.h"

#include "ops/rows/rows.cpu.h"

namespace caracal::CARACAL_ISA {

void run(const MaskRows& op, std::span<Tensor> out, Cpu& cpu) {
  const size_t sequence_bytes = op.x.bytes() / op.sequences();
  const size_t row_bytes = op.x.shape[-1] * dtype_bytes(op.x.dtype);
  for (int64_t s = 0; s < op.sequences(); s++) {
    std::byte* y = out[0].data<std::byte>() + s * sequence_bytes;
    const size_t valid = op.lengths[s] * row_bytes;
    copy_bytes(cpu, y, op.x.data<std::byte>() + s * sequence_bytes, valid);
    if (valid < sequence_bytes) std::memset(y + valid, 0, sequence_bytes - valid);
  }
}

}  // namespace caracal::CARACAL_ISA
