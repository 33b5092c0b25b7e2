// Kernel attributes and occupancy.
#include <algorithm>

#include "driver/state.h"

using namespace vgpu;
using namespace vgpu::driver;

namespace vgpu::driver {

// CUDA Occupancy Calculator: registers are allocated per warp in units of 256, for four warps at a time; shared memory
// is allocated in units of 128 bytes, with 1024 bytes per block reserved for the system.
uint32_t blocks_per_sm(const Limits& l, const KernelFunction& f, uint32_t threads, uint64_t dynamic_shared) {
  if (threads == 0 || threads > f.max_threads || dynamic_shared > f.max_dynamic_shared) return 0;
  const uint32_t warps = (threads + 31) / 32;
  const uint32_t by_registers = l.registers_per_sm / ((f.registers * 32 + 255) / 256 * 256) / 4 * 4 / warps;
  const uint64_t shared = (f.routine->shared_bytes + dynamic_shared + 1024 + 127) / 128 * 128;
  return std::min({l.blocks_per_sm, l.threads_per_sm / (warps * 32), by_registers,
                   static_cast<uint32_t>(l.shared_per_sm / shared)});
}

}  // namespace vgpu::driver

namespace {

int attribute_of(const Driver& d, const KernelFunction& f, CUfunction_attribute attribute) {
  const Routine& r = *f.routine;
  const auto module = f.module.lock();
  const auto& m = module->program->module;
  switch (static_cast<int>(attribute)) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: return static_cast<int>(f.max_threads);
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: return static_cast<int>(r.shared_bytes);
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES: {
      uint64_t bytes = 0;
      for (const auto& g : module->program->globals) bytes += g.space == Space::constant ? g.size : 0;
      return static_cast<int>(bytes);
    }
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: return static_cast<int>(r.local_bytes);
    case CU_FUNC_ATTRIBUTE_NUM_REGS: return static_cast<int>(f.registers);
    case CU_FUNC_ATTRIBUTE_PTX_VERSION: return static_cast<int>(m.compute);
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: return static_cast<int>(d.settings.limits.compute);
    case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA: return 0;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: return static_cast<int>(f.max_dynamic_shared);
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: return f.carveout;
    case CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET: return r.bounds.explicit_cluster && r.bounds.cluster[0] == 0;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH: return static_cast<int>(r.bounds.cluster[0]);
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT: return static_cast<int>(r.bounds.cluster[1]);
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH: return static_cast<int>(r.bounds.cluster[2]);
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED: return f.non_portable_clusters;
    case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE: return f.cluster_policy;
    default: fail(CUDA_ERROR_INVALID_VALUE);
  }
}

void set_attribute(const Driver& d, KernelFunction& f, CUfunction_attribute attribute, int value) {
  switch (static_cast<int>(attribute)) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      require(value >= 0 &&
              static_cast<uint64_t>(value) + f.routine->shared_bytes <= d.settings.limits.shared_per_block_optin);
      f.max_dynamic_shared = static_cast<uint32_t>(value);
      return;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      require(value >= -1 && value <= 100);
      f.carveout = value;
      return;
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
      require(value == 0 || value == 1);
      f.non_portable_clusters = value;
      return;
    case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
      require(value >= CU_CLUSTER_SCHEDULING_POLICY_DEFAULT && value <= CU_CLUSTER_SCHEDULING_POLICY_LOAD_BALANCING);
      f.cluster_policy = value;
      return;
    default: fail(CUDA_ERROR_INVALID_VALUE);  // read-only, or set at compile time
  }
}

// The function of a kernel on a device. If the current context is on another device, the device's primary context is
// used.
std::shared_ptr<KernelFunction> on_device(ApiCall& c, CUkernel kernel, CUdevice dev) {
  Device& device = c.driver.device(dev);
  const auto context = c.context && c.context->device == &device ? c.context : device.primary;
  require(context != nullptr, CUDA_ERROR_INVALID_CONTEXT);
  return function_of(c, kernel, context);
}

uint32_t cluster_limit(const KernelFunction& f) { return f.non_portable_clusters ? 16 : 8; }

}  // namespace

CUresult cuFuncGetAttribute(int* out, CUfunction_attribute attribute, CUfunction handle) {
  return with_context([&](ApiCall& c) {
    require(out != nullptr);
    *out = attribute_of(c.driver, *function_of(c, handle, c.context), attribute);
  });
}
CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute attribute, int value) {
  return with_context(
      [&](ApiCall& c) { set_attribute(c.driver, *function_of(c, handle, c.context), attribute, value); });
}
CUresult cuKernelGetAttribute(int* out, CUfunction_attribute attribute, CUkernel kernel, CUdevice dev) {
  return with_driver([&](ApiCall& c) {
    require(out != nullptr);
    *out = attribute_of(c.driver, *on_device(c, kernel, dev), attribute);
  });
}
CUresult cuKernelSetAttribute(CUfunction_attribute attribute, int value, CUkernel kernel, CUdevice dev) {
  return with_driver([&](ApiCall& c) { set_attribute(c.driver, *on_device(c, kernel, dev), attribute, value); });
}
CUresult cuKernelGetFunction(CUfunction* out, CUkernel kernel) {
  return with_context([&](ApiCall& c) {
    require(out != nullptr);
    *out = handle_of<CUfunction>(*function_of(c, kernel, c.context));
  });
}
CUresult cuKernelGetName(const char** out, CUkernel kernel) {
  return with_driver([&](ApiCall& c) {
    require(out != nullptr);
    *out = c.driver.get<Kernel>(kernel)->name.c_str();
  });
}
CUresult cuFuncGetName(const char** out, CUfunction handle) {
  return with_context([&](ApiCall& c) {
    require(out != nullptr);
    *out = function_of(c, handle, c.context)->routine->name.c_str();
  });
}
CUresult cuFuncGetModule(CUmodule* out, CUfunction handle) {
  return with_context([&](ApiCall& c) {
    require(out != nullptr);
    *out = handle_of<CUmodule>(*function_of(c, handle, c.context)->module.lock());
  });
}
CUresult cuFuncGetParamInfo(CUfunction handle, size_t index, size_t* offset, size_t* size) {
  return with_context([&](ApiCall& c) {
    require(offset != nullptr);
    const auto& parameters = function_of(c, handle, c.context)->routine->parameters;
    require(index < parameters.size());
    *offset = parameters[index].offset;
    if (size) *size = parameters[index].size;
  });
}
CUresult cuFuncSetCacheConfig(CUfunction handle, CUfunc_cache config) {
  return with_context([&](ApiCall& c) {
    require(config >= CU_FUNC_CACHE_PREFER_NONE && config <= CU_FUNC_CACHE_PREFER_EQUAL);
    function_of(c, handle, c.context)->cache = config;
  });
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* out, CUfunction handle, int threads, size_t shared,
                                                              unsigned int flags) {
  return with_context([&](ApiCall& c) {
    require(out && threads > 0 && flags <= CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE);
    const auto f = function_of(c, handle, c.context);
    *out = static_cast<int>(blocks_per_sm(c.driver.settings.limits, *f, static_cast<uint32_t>(threads), shared));
  });
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* out, CUfunction handle, int threads, size_t shared) {
  return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(out, handle, threads, shared, 0);
}
CUresult cuOccupancyMaxPotentialBlockSize(int* grid, int* block, CUfunction handle, CUoccupancyB2DSize shared_of,
                                          size_t shared, int thread_limit) {
  return with_context([&](ApiCall& c) {
    require(grid && block && thread_limit >= 0);
    const auto f = function_of(c, handle, c.context);
    const Limits& l = c.driver.settings.limits;
    uint32_t best = 0;
    *grid = *block = 0;
    const uint32_t largest =
        thread_limit ? std::min(static_cast<uint32_t>(thread_limit), f->max_threads) : f->max_threads;
    for (uint32_t threads = (largest + 31) / 32 * 32; threads > 0; threads -= 32) {
      const uint32_t n = std::min(threads, largest);
      const uint32_t blocks = blocks_per_sm(l, *f, n, shared_of ? shared_of(static_cast<int>(n)) : shared);
      if (blocks * n <= best) continue;
      best = blocks * n;
      *block = static_cast<int>(n);
      *grid = static_cast<int>(blocks * l.sm_count);
    }
    require(best > 0);
  });
}
CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t* out, CUfunction handle, int blocks, int threads) {
  return with_context([&](ApiCall& c) {
    require(out && blocks > 0 && threads > 0);
    const auto f = function_of(c, handle, c.context);
    const Limits& l = c.driver.settings.limits;
    const uint32_t each = l.shared_per_sm / static_cast<uint32_t>(blocks) / 128 * 128,
                   taken = f->routine->shared_bytes + 1024;
    *out = each > taken ? std::min(each - taken, l.shared_per_block_optin - f->routine->shared_bytes) : 0;
  });
}
CUresult cuOccupancyMaxPotentialClusterSize(int* out, CUfunction handle, const CUlaunchConfig* config) {
  return with_context([&](ApiCall& c) {
    require(out && config);
    require(c.driver.settings.limits.compute >= 90, CUDA_ERROR_NOT_SUPPORTED);
    *out = static_cast<int>(cluster_limit(*function_of(c, handle, c.context)));
  });
}
CUresult cuOccupancyMaxActiveClusters(int* out, CUfunction handle, const CUlaunchConfig* config) {
  return with_context([&](ApiCall& c) {
    require(out && config && (config->attrs || !config->numAttrs));
    require(c.driver.settings.limits.compute >= 90, CUDA_ERROR_NOT_SUPPORTED);
    const auto f = function_of(c, handle, c.context);
    uint32_t blocks =
        std::max(1u, f->routine->bounds.cluster[0] * f->routine->bounds.cluster[1] * f->routine->bounds.cluster[2]);
    for (unsigned i = 0; i < config->numAttrs; i++)
      if (config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) {
        const auto& d = config->attrs[i].value.clusterDim;
        require(d.x && d.y && d.z);
        blocks = d.x * d.y * d.z;
      }
    const uint64_t threads = uint64_t{config->blockDimX} * config->blockDimY * config->blockDimZ;
    require(threads > 0 && threads <= 1024);
    const Limits& l = c.driver.settings.limits;
    // A cluster stays within a GPC, which is assumed to have 16 SMs, like a full GPC of GH100.
    const uint32_t per_sm = blocks_per_sm(l, *f, static_cast<uint32_t>(threads), config->sharedMemBytes);
    *out =
        blocks > cluster_limit(*f)
            ? 0
            : static_cast<int>(per_sm * std::min(16u, l.sm_count) / blocks * (l.sm_count / std::min(16u, l.sm_count)));
  });
}
