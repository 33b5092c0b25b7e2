#include "ops/audio/pack_conv_transpose1d.h"

#include "ops/audio/pack_conv.cpu.h"

namespace caracal::CARACAL_ISA {

void run(const PackConvTranspose1d& op, std::span<Tensor> out, Cpu& cpu) {
  pack_conv_transpose1d(cpu, op.w, out[0].data<std::byte>());
}

}  // namespace caracal::CARACAL_ISA
