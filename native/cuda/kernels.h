#pragma once
// The kernels that the build embedded: of every family its PTX and what ptxas made of that PTX for each architecture.
#include <span>
#include <string_view>

namespace caracal {

struct KernelImage {
  std::string_view family;  // "moe"
  int target;               // 80 is sm_80; of PTX, the least it runs on
  bool ptx;
  const void* data;  // PTX ends with a zero
  size_t bytes;
};

// Empty where the build had no nvcc.
std::span<const KernelImage> kernel_images();

}  // namespace caracal
