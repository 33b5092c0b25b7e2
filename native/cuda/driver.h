#pragma once
// The CUDA driver, opened with dlopen when it is first needed, so the addon also loads on machines without one.
#include <string>

#include "core/error.h"
#include "cuda/cuda_api.h"

namespace caracal {

#define CARACAL_DRIVER_FUNCTIONS(X) \
  X(cuInit)                         \
  X(cuDriverGetVersion)             \
  X(cuGetErrorName)                 \
  X(cuGetErrorString)               \
  X(cuDeviceGetCount)               \
  X(cuDeviceGet)                    \
  X(cuDeviceGetName)                \
  X(cuDeviceGetAttribute)           \
  X(cuDeviceTotalMem_v2)            \
  X(cuDevicePrimaryCtxRetain)       \
  X(cuDevicePrimaryCtxRelease_v2)   \
  X(cuCtxSetCurrent)                \
  X(cuModuleLoadDataEx)             \
  X(cuModuleUnload)                 \
  X(cuModuleGetFunction)            \
  X(cuFuncSetAttribute)             \
  X(cuLaunchKernel)                 \
  X(cuLaunchCooperativeKernel)      \
  X(cuMemAlloc_v2)                  \
  X(cuMemFree_v2)                   \
  X(cuMemGetInfo_v2)                \
  X(cuMemHostAlloc)                 \
  X(cuMemFreeHost)                  \
  X(cuMemcpyHtoDAsync_v2)           \
  X(cuMemcpyDtoHAsync_v2)           \
  X(cuMemcpyDtoDAsync_v2)           \
  X(cuMemsetD8Async)                \
  X(cuStreamCreate)                 \
  X(cuStreamDestroy_v2)             \
  X(cuStreamSynchronize)            \
  X(cuStreamWaitEvent)              \
  X(cuStreamBeginCapture_v2)        \
  X(cuStreamEndCapture)             \
  X(cuGraphInstantiateWithFlags)    \
  X(cuGraphLaunch)                  \
  X(cuGraphDestroy)                 \
  X(cuGraphExecDestroy)             \
  X(cuEventCreate)                  \
  X(cuEventDestroy_v2)              \
  X(cuEventElapsedTime)             \
  X(cuEventRecord)                  \
  X(cuEventSynchronize)

struct Driver {
#define CARACAL_DECLARE(f) decltype(&::f) f = nullptr;
  CARACAL_DRIVER_FUNCTIONS(CARACAL_DECLARE)
#undef CARACAL_DECLARE
  std::string library;  // the name or path that was opened
  int version = 0;      // 13000 means 13.0
  int devices = 0;
  bool is_virtual = false;  // whether the library is native/vgpu

  // Opens CARACAL_CUDA_LIBRARY if it is set, else libcuda.so.1, and keeps it open.
  // @throws NO_DRIVER, DRIVER_TOO_OLD, NO_DEVICE
  static const Driver& get();

  // @throws OUT_OF_MEMORY or DEVICE_FAULT with the driver's description of `result`, unless that is success
  void check(CUresult result, const std::string& what) const;
  std::string name(CUresult result) const;      // CUDA_ERROR_OUT_OF_MEMORY
  std::string describe(CUresult result) const;  // CUDA_ERROR_OUT_OF_MEMORY (out of memory)
};

}  // namespace caracal
