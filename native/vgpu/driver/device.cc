// Initialisation, version and device management.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "driver/state.h"

using namespace vgpu;
using namespace vgpu::driver;

namespace {

// Features that every virtual GPU has.
bool always_supported(CUdevice_attribute attribute) {
  switch (static_cast<int>(attribute)) {
    case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP:
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS:
    case CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
    case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
    case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: return true;
    default: return false;
  }
}

// The value is 0 for features that do not exist here.
uint64_t attribute_value(CUdevice_attribute attribute, const Limits& l, CUdevice dev) {
  switch (static_cast<int>(attribute)) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: return 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: return 64;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_PITCH: return 0x7fffffff;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: return 65535;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: return l.shared_per_block;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: return l.shared_per_block_optin;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: return l.shared_per_sm;
    case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK: return 1024;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY: return 65536;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: return 32;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: return l.registers_per_sm;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: return l.sm_count;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: return l.threads_per_sm;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR: return l.blocks_per_sm;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: return l.compute / 10;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: return l.compute % 10;
    // There is no clock, bus or cache, but programs divide by these values, so they are not 0.
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: return 1000000;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: return 4096;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: return 40 << 20;
    case CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO: return l.compute == 86 || l.compute == 89 ? 64 : 2;
    case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT: return 512;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: return 3;
    case CU_DEVICE_ATTRIBUTE_MEM_SYNC_DOMAIN_COUNT: return l.compute >= 90 ? 4 : 1;
    case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID: return static_cast<uint64_t>(dev);
    case CU_DEVICE_ATTRIBUTE_MULTI_GPU_BOARD_GROUP_ID: return static_cast<uint64_t>(dev);
    case CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH:
    case CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED: return l.compute >= 90;
    default: return always_supported(attribute);
  }
}

}  // namespace

CUresult cuInit(unsigned int flags) {
  return enter(Needs::nothing, [&](ApiCall& c) {
    require(flags == 0);
    Driver& d = c.driver;
    if (d.initialised) return;
    d.settings = {};
    require(read_settings(d.settings));
    require(d.settings.devices > 0, CUDA_ERROR_NO_DEVICE);
    for (uint32_t i = 0; i < d.settings.devices; i++) {
      // Base addresses are far from the generic address windows and from each other, so an address identifies its
      // device.
      d.devices.push_back(
          std::make_unique<Device>(static_cast<int>(i), uint64_t{16 + 2 * i} << 40, d.settings.limits.memory));
      Device& device = *d.devices.back();
      device.memory.checked = d.settings.run.checks.initcheck || d.settings.run.checks.racecheck;
      device.memory.link(d.host);
      device.default_pool = device.pool = d.create<Pool>();
      device.pool->device = static_cast<int>(i);
    }
    static const bool registered = [] { return std::atexit([] { vgpu::driver::driver().shut_down(); }) == 0; }();
    require(registered, CUDA_ERROR_OUT_OF_MEMORY);
    d.initialised = true;
  });
}

CUresult cuDriverGetVersion(int* version) {
  return enter(Needs::nothing, [&](ApiCall& c) {
    require(version != nullptr);
    // The call is allowed before cuInit, which is what reads the environment.
    Settings s;
    if (!c.driver.initialised) require(read_settings(s));
    *version = (c.driver.initialised ? c.driver.settings : s).driver_version;
  });
}

CUresult cuDeviceGetCount(int* count) {
  return with_driver([&](ApiCall& c) {
    require(count != nullptr);
    *count = static_cast<int>(c.driver.devices.size());
  });
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  return with_driver([&](ApiCall& c) {
    require(device != nullptr);
    *device = c.driver.device(ordinal).ordinal;
  });
}

CUresult cuDeviceGetName(char* name, int length, CUdevice dev) {
  return with_driver([&](ApiCall& c) {
    c.driver.device(dev);
    require(name != nullptr && length > 0);
    const auto& limits = c.driver.settings.limits;
    std::snprintf(name, static_cast<size_t>(length), "Caracal Virtual GPU (sm_%u, PTX interpreter)", limits.compute);
  });
}

CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice dev) {
  return with_driver([&](ApiCall& c) {
    c.driver.device(dev);
    require(uuid != nullptr);
    std::memcpy(uuid->bytes, "caracal virtual\0", 16);
    uuid->bytes[15] = static_cast<char>(dev);
  });
}
CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice dev) { return cuDeviceGetUuid_v2(uuid, dev); }

CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice dev) {
  return with_driver([&](ApiCall& c) {
    require(bytes != nullptr);
    *bytes = c.driver.device(dev).memory.capacity();
  });
}

CUresult cuDeviceGetAttribute(int* out, CUdevice_attribute attribute, CUdevice dev) {
  return with_driver([&](ApiCall& c) {
    require(out != nullptr);
    c.driver.device(dev);
    require(attribute > 0 && attribute <= CU_DEVICE_ATTRIBUTE_ONLY_PARTIAL_HOST_NATIVE_ATOMIC_SUPPORTED);
    *out = static_cast<int>(attribute_value(attribute, c.driver.settings.limits, dev));
  });
}

CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice dev) {
  return with_driver([&](ApiCall& c) {
    require(major && minor);
    c.driver.device(dev);
    *major = static_cast<int>(c.driver.settings.limits.compute / 10);
    *minor = static_cast<int>(c.driver.settings.limits.compute % 10);
  });
}

CUresult cuDeviceGetProperties(CUdevprop* p, CUdevice dev) {
  return with_driver([&](ApiCall& c) {
    require(p != nullptr);
    c.driver.device(dev);
    *p = {1024,
          {1024, 1024, 64},
          {0x7fffffff, 65535, 65535},
          static_cast<int>(c.driver.settings.limits.shared_per_block),
          65536,
          32,
          0x7fffffff,
          static_cast<int>(c.driver.settings.limits.registers_per_sm),
          1000000,
          512};
  });
}

CUresult cuDeviceGetPCIBusId(char* id, int length, CUdevice dev) {
  return with_driver([&](ApiCall& c) {
    c.driver.device(dev);
    require(id != nullptr && length > 0);
    std::snprintf(id, static_cast<size_t>(length), "0000:00:%02x.0", static_cast<unsigned>(dev));
  });
}

CUresult cuDeviceGetByPCIBusId(CUdevice* dev, const char* id) {
  return with_driver([&](ApiCall& c) {
    require(dev && id);
    unsigned domain = 0, bus = 0, device = 0;
    require(std::sscanf(id, "%x:%x:%x", &domain, &bus, &device) == 3);
    require(domain == 0 && bus == 0 && device < c.driver.devices.size(), CUDA_ERROR_INVALID_DEVICE);
    *dev = static_cast<int>(device);
  });
}

CUresult cuDeviceCanAccessPeer(int* can, CUdevice dev, CUdevice peer) {
  return with_driver([&](ApiCall& c) {
    require(can != nullptr);
    *can = c.driver.device(dev).ordinal != c.driver.device(peer).ordinal;
  });
}

CUresult cuDeviceGetP2PAttribute(int* value, CUdevice_P2PAttribute attribute, CUdevice from, CUdevice to) {
  return with_driver([&](ApiCall& c) {
    require(value != nullptr);
    require(c.driver.device(from).ordinal != c.driver.device(to).ordinal, CUDA_ERROR_INVALID_DEVICE);
    require(attribute >= CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK &&
            attribute <= CU_DEVICE_P2P_ATTRIBUTE_ONLY_PARTIAL_NATIVE_ATOMIC_SUPPORTED);
    *value = attribute == CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED ||
             attribute == CU_DEVICE_P2P_ATTRIBUTE_NATIVE_ATOMIC_SUPPORTED;
  });
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice dev) {
  return with_driver([&](ApiCall& c) {
    require(pool != nullptr);
    *pool = handle_of<CUmemoryPool>(*c.driver.device(dev).default_pool);
  });
}
CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice dev) {
  return with_driver([&](ApiCall& c) {
    require(pool != nullptr);
    *pool = handle_of<CUmemoryPool>(*c.driver.device(dev).pool);
  });
}
CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool) {
  return with_driver([&](ApiCall& c) {
    Device& device = c.driver.device(dev);
    const auto p = c.driver.get<Pool>(pool, CUDA_ERROR_INVALID_VALUE);
    require(p->device == dev);
    device.pool = p;
  });
}
