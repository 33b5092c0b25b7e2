#pragma once
// Instruction sets the CPU backend is compiled for. Every ops/**/*.cpu.cc is compiled once per set, each into the
// namespace CARACAL_ISA names; dispatch.cc picks one at run time.
//
// Beware: inline functions of the standard library that such a file instantiates exist in three versions under one
// name. The linker keeps the first; the baseline objects stand first on the command line, so the version kept runs
// everywhere.
#include <string>

namespace caracal {

enum class Isa { scalar, avx2, avx512 };
inline constexpr const char* kIsaNames[] = {"scalar", "avx2", "avx512"};

Isa best_isa();  // what this processor has
// The set to use: `requested`, else CARACAL_CPU, else the best. Throws UNSUPPORTED when the processor lacks it.
Isa choose_isa(const std::string& requested);

}  // namespace caracal
