#include "cuda/gpu.h"

namespace caracal {

GpuProperties GpuProperties::of(const Driver& driver, CUdevice device) {
  auto attribute = [&](CUdevice_attribute which) {
    int value = 0;
    driver.check(driver.cuDeviceGetAttribute(&value, which, device), "cuDeviceGetAttribute");
    return value;
  };
  GpuProperties p;
  char name[256] = {};
  driver.check(driver.cuDeviceGetName(name, sizeof name - 1, device), "cuDeviceGetName");
  driver.check(driver.cuDeviceTotalMem_v2(&p.memory, device), "cuDeviceTotalMem");
  p.name = name;
  p.major = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  p.minor = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  p.sms = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  p.shared_bytes = static_cast<size_t>(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN));
  return p;
}

Context::Context(const Driver& driver, CUdevice device) : driver_(driver), device_(device) {
  driver_.check(driver_.cuDevicePrimaryCtxRetain(&context_, device_), "cuDevicePrimaryCtxRetain");
  make_current();
}

Context::~Context() { driver_.cuDevicePrimaryCtxRelease_v2(device_); }

std::byte* GpuMemory::take(size_t bytes) {
  CUdeviceptr address = 0;
  const CUresult result = driver_.cuMemAlloc_v2(&address, bytes);
  if (result == CUDA_ERROR_OUT_OF_MEMORY) return nullptr;
  driver_.check(result, "cuMemAlloc");
  return reinterpret_cast<std::byte*>(address);
}

// Tensors may be dropped on any thread, including the event loop's.
void GpuMemory::give_back(std::byte* data, size_t) noexcept {
  if (context_.try_make_current()) driver_.cuMemFree_v2(reinterpret_cast<CUdeviceptr>(data));
}

std::string GpuMemory::free_memory() const {
  size_t free = 0, total = 0;
  if (driver_.cuMemGetInfo_v2(&free, &total) != CUDA_SUCCESS) return "";
  return "; the GPU has " + std::to_string(free) + " of " + std::to_string(total) + " bytes free";
}

Stream::Stream(const Driver& driver) : driver_(driver) {
  driver_.check(driver_.cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
}

Event::Event(const Driver& driver, unsigned flags) : driver_(driver) {
  driver_.check(driver_.cuEventCreate(&event_, flags), "cuEventCreate");
}

PinnedMemory::PinnedMemory(const Driver& driver, size_t bytes) : driver_(driver) {
  driver_.check(driver_.cuMemHostAlloc(&data_, bytes, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP),
                "cuMemHostAlloc");
}

}  // namespace caracal
