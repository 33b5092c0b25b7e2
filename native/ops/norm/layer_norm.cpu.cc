#include "ops/norm/layer_norm.cpu.h"

namespace caracal::CARACAL_ISA {

void run(const LayerNorm& op, std::span<Tensor> out, Cpu& cpu) { normalise_rows(cpu, op, out[0].data<std::byte>()); }

}  // namespace caracal::CARACAL_ISA
