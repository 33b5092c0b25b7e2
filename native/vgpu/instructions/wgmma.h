#pragma once
// The multiplication of wgmma.mma_async: decoded in wgmma.cc, executed in wgmma_multiply.cc.
#include <cstdint>

#include "machine/warp.h"

namespace vgpu {

// The variant of an instruction, kept in op.imm.
struct WgmmaForm {
  uint32_t n : 9, format_a : 4, format_b : 4, half_d : 1, integer : 1, unsigned_a : 1, unsigned_b : 1, satfinite : 1;
  uint32_t a_in_registers : 1, negate_a : 1, negate_b : 1, mn_major_a : 1, mn_major_b : 1, scale_d_negated : 1;
};
static_assert(sizeof(WgmmaForm) <= sizeof(Op::imm), "a form must fit the immediate of an Op");

// Computes D = A B, plus D if `accumulate`, for the warp's rows. A is in registers or at the descriptor op.a, B at the
// descriptor op.b. @throws DeviceFault
void wgmma_multiply(Warp& w, const Op& op, const WgmmaForm& form, Accumulators::Result& result, const uint32_t* a_slots,
                    bool accumulate);

}  // namespace vgpu
