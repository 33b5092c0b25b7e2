#include "ops/rows/copy_rows.h"

#include "ops/rows/rows.cpu.h"

namespace caracal::CARACAL_ISA {

void run(const CopyRows& op, std::span<Tensor>, Cpu& cpu) {
  const size_t bytes = op.src.bytes();
  if (bytes == 0) return;
  std::byte* to = op.dst.data<std::byte>() + op.dst_row * (bytes / op.src.shape[0]);
  const std::byte* from = op.src.data<std::byte>();
  if (op.dst.storage == op.src.storage)
    std::memmove(to, from, bytes);
  else
    copy_bytes(cpu, to, from, bytes);
}

}  // namespace caracal::CARACAL_ISA
