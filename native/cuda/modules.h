#pragma once
#include <map>
#include <string>
#include <string_view>

#include "cuda/gpu.h"

namespace caracal {

// The modules of the embedded images. Each is loaded into the context when one of its kernels is first launched.
class Modules {
 public:
  Modules(const Driver& driver, const GpuProperties& gpu) : driver_(driver), gpu_(gpu) {}
  ~Modules();
  Modules(const Modules&) = delete;

  // The function of an entry, which may then be launched with `dynamic_shared` bytes of dynamic shared memory.
  // @throws UNSUPPORTED if this build has no such kernel, or no image of its module for the GPU
  CUfunction kernel(const std::string& entry, size_t dynamic_shared);

 private:
  struct Kernel {
    CUfunction function = nullptr;
    size_t dynamic_shared = 0;  // bytes that have been permitted
  };
  CUmodule load(std::string_view name);

  const Driver& driver_;
  const GpuProperties& gpu_;
  std::map<std::string_view, CUmodule> modules_;
  std::map<std::string, Kernel, std::less<>> kernels_;
};

}  // namespace caracal
