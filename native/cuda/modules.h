#pragma once
#include <map>
#include <string>

#include "cuda/gpu.h"

namespace caracal {

// A kernel of native/ops/<family>: its name is that of an extern "C" function there.
struct KernelName {
  const char* family;
  std::string name;
};

// The embedded images as modules of a context, each loaded when a kernel of it is first asked for.
class Modules {
 public:
  Modules(const Driver& driver, const GpuProperties& gpu) : driver_(driver), gpu_(gpu) {}
  ~Modules();
  Modules(const Modules&) = delete;

  // @throws UNSUPPORTED when this build has no image of the family for the GPU
  CUfunction kernel(const KernelName& name, size_t dynamic_shared);

 private:
  struct Kernel {
    CUfunction function = nullptr;
    size_t dynamic_shared = 0;  // that it was allowed
  };
  CUmodule load(const std::string& family);

  const Driver& driver_;
  const GpuProperties& gpu_;
  std::map<std::string, CUmodule> modules_;
  std::map<std::string, Kernel, std::less<>> kernels_;
};

}  // namespace caracal
