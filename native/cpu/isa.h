#pragma once
// The instruction sets that the CPU backend is compiled for. Every ops/**/*.cpu.cc is compiled once per set, into the
// namespace CARACAL_ISA; the code that native/engine/operation_of.h generates chooses one at run time.
//
// Beware: inline functions of the standard library that these files instantiate exist in three versions under one name.
// The linker keeps the first one. The baseline objects come first on the command line, so the kept version runs on
// every processor.
#include <string>

#include "core/enum_names.h"

namespace caracal {

enum class Isa { baseline, avx2, avx512 };
#if defined(__aarch64__)
inline constexpr const char* kIsaNames[] = {"neon", "avx2", "avx512"};
#else
inline constexpr const char* kIsaNames[] = {"scalar", "avx2", "avx512"};
#endif
static_assert(one_name_each<Isa>(kIsaNames), "devices are described by the name of any Isa");
inline const char* isa_name(Isa isa) { return kIsaNames[static_cast<int>(isa)]; }

Isa best_isa();  // of this processor
// Returns `requested`, else CARACAL_CPU, else the best set.
// @throws UNSUPPORTED if the processor lacks it; INVALID_ARGUMENT for an unknown name
Isa choose_isa(const std::string& requested);

}  // namespace caracal
