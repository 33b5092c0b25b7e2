#include "cuda/modules.h"

#include <algorithm>
#include <vector>

#include "cuda/kernels.h"

namespace caracal {

Modules::~Modules() {
  for (const auto& [name, module] : modules_) driver_.cuModuleUnload(module);
}

// The images that a GPU can load, best first. A cubin runs on GPUs of the same major version and the same or a newer
// minor one; the nearest version is the best. PTX comes last, since the driver must compile it; only newer GPUs and the
// virtual GPU need it.
static std::vector<const KernelImage*> images_for(std::string_view module, int capability) {
  std::vector<const KernelImage*> found;
  for (const KernelImage& image : kernel_images())
    if (image.module == module && image.target <= capability && (image.ptx || image.target / 10 == capability / 10))
      found.push_back(&image);
  std::sort(found.begin(), found.end(), [](const KernelImage* a, const KernelImage* b) {
    return a->ptx != b->ptx ? b->ptx : a->target > b->target;
  });
  return found;
}

CUmodule Modules::load(std::string_view name) {
  if (const auto found = modules_.find(name); found != modules_.end()) return found->second;
  const int capability = 10 * gpu_.major + gpu_.minor;
  CUmodule module = nullptr;
  CUresult result = CUDA_ERROR_NO_BINARY_FOR_GPU;
  char log[1024] = {};  // errors of the driver's PTX compiler
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void* values[] = {log, reinterpret_cast<void*>(sizeof log - 1)};
  for (const KernelImage* image : images_for(name, capability)) {
    result = driver_.cuModuleLoadDataEx(&module, image->data, 2, options, values);
    if (result != CUDA_ERROR_NO_BINARY_FOR_GPU) break;
  }
  if (result == CUDA_ERROR_NO_BINARY_FOR_GPU)
    throw Error(code::kUnsupported, "this build has no \"" + std::string(name) + "\" kernels for sm_" +
                                        std::to_string(capability) +
                                        ": `caracal doctor` says how to get it, or use a CPU device");
  driver_.check(result,
                "loading the \"" + std::string(name) + "\" kernels" + (*log ? std::string(": ") + log + ";" : ""));
  return modules_.emplace(name, module).first->second;
}

static std::string_view module_of(std::string_view entry) {
  const std::span<const KernelEntry> entries = kernel_entries();
  const auto found = std::ranges::lower_bound(entries, entry, {}, &KernelEntry::name);
  if (found == entries.end() || found->name != entry)
    throw Error(code::kUnsupported, "this build has no kernel " + std::string(entry) +
                                        ": `caracal doctor` says how to get it, or use a CPU device");
  return found->module;
}

CUfunction Modules::kernel(const std::string& entry, size_t dynamic_shared) {
  auto found = kernels_.find(entry);
  if (found == kernels_.end()) {
    Kernel kernel;
    driver_.check(driver_.cuModuleGetFunction(&kernel.function, load(module_of(entry)), entry.c_str()),
                  "finding the kernel " + entry);
    found = kernels_.emplace(entry, kernel).first;
  }
  Kernel& kernel = found->second;
  // Without this call the limit is 48 KiB minus the kernel's static shared memory, whose size is not known here.
  if (dynamic_shared > kernel.dynamic_shared) {
    driver_.check(driver_.cuFuncSetAttribute(kernel.function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                             static_cast<int>(dynamic_shared)),
                  "giving " + entry + " its shared memory");
    kernel.dynamic_shared = dynamic_shared;
  }
  return kernel.function;
}

}  // namespace caracal
