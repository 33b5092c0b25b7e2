#pragma once
#include <map>
#include <string>
#include <string_view>

#include "cuda/gpu.h"

namespace caracal {

// The embedded images as modules of a context, each loaded when one of its kernels is first launched.
class Modules {
 public:
  Modules(const Driver& driver, const GpuProperties& gpu) : driver_(driver), gpu_(gpu) {}
  ~Modules();
  Modules(const Modules&) = delete;

  // Where a kernel begins, with room for so much dynamic shared memory.
  // @throws UNSUPPORTED when this build has no such kernel, or no image of its module for the GPU
  CUfunction kernel(const std::string& entry, size_t dynamic_shared);

 private:
  struct Kernel {
    CUfunction function = nullptr;
    size_t dynamic_shared = 0;  // bytes that it has been allowed
  };
  CUmodule load(std::string_view name);

  const Driver& driver_;
  const GpuProperties& gpu_;
  std::map<std::string_view, CUmodule> modules_;
  std::map<std::string, Kernel, std::less<>> kernels_;
};

}  // namespace caracal
