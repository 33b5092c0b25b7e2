#include "cpu/isa.h"

#include <cstdlib>

#include "core/error.h"

namespace caracal {

Isa best_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return avx512 ? Isa::avx512 : avx2 ? Isa::avx2 : Isa::baseline;
#else
  return Isa::baseline;
#endif
}

Isa choose_isa(const std::string& requested) {
  const char* env = std::getenv("CARACAL_CPU");
  const std::string name = !requested.empty() ? requested : env ? env : "";
  const Isa best = best_isa();
  if (name.empty()) return best;
  for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (name != isa_name(isa)) continue;
    if (isa > best)
      throw Error(code::kUnsupported,
                  "instruction set " + name + " was requested, but the best of this processor is " + isa_name(best),
                  {{"argument", "isa"}, {"expected", isa_name(best)}, {"actual", name}});
    return isa;
  }
#if defined(__x86_64__)
  const std::string expected = "scalar, avx2 or avx512";
#else
  const std::string expected = isa_name(Isa::baseline);
#endif
  throw Error(code::kInvalidArgument, "unknown instruction set \"" + name + "\": use " + expected,
              {{"argument", "isa"}, {"expected", expected}, {"actual", name}});
}

}  // namespace caracal
