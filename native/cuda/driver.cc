#include "cuda/driver.h"

#include <dlfcn.h>
#include <sys/stat.h>

#include <cstdlib>
#include <memory>
#include <mutex>

namespace caracal {
namespace {

// Kernels are built with the CUDA 13 toolkit. Older drivers reject its cubins and PTX.
constexpr int kOldestDriver = 13000;

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::unique_ptr<Driver> open_driver() {
  const char* chosen = std::getenv("CARACAL_CUDA_LIBRARY");
  auto driver = std::make_unique<Driver>();
  driver->library = chosen && *chosen ? chosen : "libcuda.so.1";
  auto fail = [&](const char* why) {
    throw Error(code::kNoDriver,
                driver->library + " could not be opened (" + (why ? why : "no reason given") +
                    "): install the NVIDIA driver, or set CARACAL_CUDA_LIBRARY to its libcuda.so.1",
                {{"path", driver->library}});
  };
  struct stat found{};
  const bool is_path = driver->library.find('/') != std::string::npos;  // the system searches for a mere name
  const bool is_found = is_path && stat(driver->library.c_str(), &found) == 0;
  if (is_found && !S_ISREG(found.st_mode)) fail("it is not a regular file");  // dlopen would wait for a FIFO's writer
  void* handle = dlopen(driver->library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) fail(dlerror());
#define CARACAL_FIND(f)                                                                                \
  if (driver->f = reinterpret_cast<decltype(&::f)>(dlsym(handle, #f)); !driver->f)                     \
    throw Error(code::kDriverTooOld,                                                                   \
                driver->library + " has no " #f ": a driver for CUDA " + version_text(kOldestDriver) + \
                    " or newer is needed (R580)",                                                      \
                {{"path", driver->library}});
  CARACAL_DRIVER_FUNCTIONS(CARACAL_FIND)
#undef CARACAL_FIND
  driver->is_virtual = dlsym(handle, "caracalVgpuReport") != nullptr;
  driver->cuDriverGetVersion(&driver->version);
  if (driver->version < kOldestDriver)
    throw Error(code::kDriverTooOld,
                "the driver supports CUDA " + version_text(driver->version) + "; " + version_text(kOldestDriver) +
                    " or newer is needed: update it to R580 or newer",
                {{"expected", version_text(kOldestDriver)}, {"actual", version_text(driver->version)}});
  const char* call = "cuInit";
  CUresult result = driver->cuInit(0);
  if (result == CUDA_SUCCESS) {
    call = "cuDeviceGetCount";
    result = driver->cuDeviceGetCount(&driver->devices);
  }
  if (result == CUDA_ERROR_NO_DEVICE || (result == CUDA_SUCCESS && driver->devices == 0))
    throw Error(code::kNoDevice,
                "the driver found no GPU that is visible to this process: check nvidia-smi, CUDA_VISIBLE_DEVICES and "
                "the container's --gpus");
  if (result != CUDA_SUCCESS)
    throw Error(code::kNoDriver,
                std::string(call) + " failed with " + driver->describe(result) + ": check that nvidia-smi works",
                {{"result", driver->name(result)}});
  return driver;
}

}  // namespace

const Driver& Driver::get() {
  static std::mutex mutex;
  static Driver* opened = nullptr;  // never freed, since threads may use it until the process ends
  const std::lock_guard lock(mutex);
  if (!opened) opened = open_driver().release();
  return *opened;
}

std::string Driver::name(CUresult result) const {
  const char* name = nullptr;
  cuGetErrorName(result, &name);
  return name ? name : "CUDA error " + std::to_string(result);
}

std::string Driver::describe(CUresult result) const {
  const char* text = nullptr;
  cuGetErrorString(result, &text);
  return name(result) + (text ? std::string(" (") + text + ")" : "");
}

void Driver::check(CUresult result, const std::string& what) const {
  if (result == CUDA_SUCCESS) return;
  throw Error(result == CUDA_ERROR_OUT_OF_MEMORY ? code::kOutOfMemory : code::kDeviceFault,
              what + " failed: " + describe(result), {{"result", name(result)}});
}

}  // namespace caracal
