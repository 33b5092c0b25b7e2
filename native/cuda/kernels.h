#pragma once
// The kernels that the build embedded (scripts/lib/kernels.mjs writes the tables). Every .cu file is a module: its PTX,
// and cubins that ptxas made of that PTX.
#include <span>
#include <string_view>

namespace caracal {

struct KernelImage {
  std::string_view module;  // "router"
  int target;               // 80 means sm_80; for PTX, the minimum compute capability
  bool ptx;
  const void* data;  // PTX ends with a zero
  size_t bytes;
};

struct KernelEntry {
  std::string_view name;  // "router_picks_8"
  std::string_view module;
};

// Both are empty when the build had no nvcc. Entries are sorted by name.
std::span<const KernelImage> kernel_images();
std::span<const KernelEntry> kernel_entries();

}  // namespace caracal
