#include "cpu/dispatch.h"

namespace caracal {

// Each ops/**/*.cpu.cc defines `run` for its operation in the namespace of the instruction set it is compiled for.
#define CARACAL_DECLARE(Op) void run(const Op&, std::span<Tensor>, Cpu&);
namespace scalar {
CARACAL_OPS(CARACAL_DECLARE)
}
#if defined(__x86_64__)
namespace avx2 {
CARACAL_OPS(CARACAL_DECLARE)
}
namespace avx512 {
CARACAL_OPS(CARACAL_DECLARE)
}
#endif
#undef CARACAL_DECLARE

#if defined(__x86_64__)
#define CARACAL_DISPATCH(Op)                                             \
  void cpu_run(CpuDevice& device, const Op& op, std::span<Tensor> out) { \
    switch (device.isa()) {                                              \
      case Isa::scalar: return scalar::run(op, out, device.cpu());       \
      case Isa::avx2: return avx2::run(op, out, device.cpu());           \
      case Isa::avx512: return avx512::run(op, out, device.cpu());       \
    }                                                                    \
  }
#else
#define CARACAL_DISPATCH(Op) \
  void cpu_run(CpuDevice& device, const Op& op, std::span<Tensor> out) { scalar::run(op, out, device.cpu()); }
#endif
CARACAL_OPS(CARACAL_DISPATCH)

}  // namespace caracal
