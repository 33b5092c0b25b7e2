#include "ops/audio/pack_conv1d.h"

#include "ops/audio/pack_conv.cpu.h"

namespace caracal::CARACAL_ISA {

void run(const PackConv1d& op, std::span<Tensor> out, Cpu& cpu) {
  pack_conv1d(cpu, op.w, op.groups, out[0].data<std::byte>());
}

}  // namespace caracal::CARACAL_ISA
