#include "ops/rows/concat_rows.h"

#include "ops/rows/rows.cpu.h"

namespace caracal::CARACAL_ISA {

void run(const ConcatRows& op, std::span<Tensor> out, Cpu& cpu) {
  std::byte* y = out[0].data<std::byte>();
  for (const Tensor& x : op.x) {
    copy_bytes(cpu, y, x.data<std::byte>(), x.bytes());
    y += x.bytes();
  }
}

}  // namespace caracal::CARACAL_ISA
