// Initialisation, devices, errors, entry points and contexts.
#include "host.h"

TEST(nothing_before_init) {
  int n = 0;
  CUdevice d;
  GIVES(CUDA_ERROR_NOT_INITIALIZED, cuDeviceGetCount(&n));
  GIVES(CUDA_ERROR_NOT_INITIALIZED, cuDeviceGet(&d, 0));
  OK(cuDriverGetVersion(&n));
  EXPECT(n == 13000);
  GIVES(CUDA_ERROR_INVALID_VALUE, cuInit(1));
  OK(cuInit(0));
  OK(cuInit(0));
  OK(cuDeviceGetCount(&n));
  EXPECT(n == 1);
  GIVES(CUDA_ERROR_INVALID_VALUE, cuDeviceGetCount(nullptr));
  GIVES(CUDA_ERROR_INVALID_DEVICE, cuDeviceGet(&d, 1));
  GIVES(CUDA_ERROR_INVALID_DEVICE, cuDeviceGet(&d, -1));
}

TEST(device_describes_itself) {
  setenv("CARACAL_VGPU_COMPUTE", "9.0", 1);
  setenv("CARACAL_VGPU_MEMORY", "3G", 1);
  setenv("CARACAL_VGPU_SM_COUNT", "17", 1);
  OK(cuInit(0));
  char name[100];
  OK(cuDeviceGetName(name, sizeof name, 0));
  EXPECT(std::strstr(name, "Virtual GPU"));
  char little[4] = {1, 1, 1, 1};
  OK(cuDeviceGetName(little, 3, 0));
  EXPECT(little[2] == 0 && little[3] == 1);
  size_t bytes = 0;
  OK(cuDeviceTotalMem_v2(&bytes, 0));
  EXPECT(bytes == size_t{3} << 30);
  auto attribute = [](CUdevice_attribute a) {
    int v = -1;
    OK(cuDeviceGetAttribute(&v, a, 0));
    return v;
  };
  EXPECT(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) == 9);
  EXPECT(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR) == 0);
  EXPECT(attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT) == 17);
  EXPECT(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN) == 227 * 1024);
  EXPECT(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK) == 48 * 1024);
  EXPECT(attribute(CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH) == 1);
  EXPECT(attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE) == 32);
  int v;
  GIVES(CUDA_ERROR_INVALID_VALUE, cuDeviceGetAttribute(&v, static_cast<CUdevice_attribute>(9999), 0));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuDeviceGetAttribute(&v, static_cast<CUdevice_attribute>(0), 0));
  CUuuid a, b;
  OK(cuDeviceGetUuid(&a, 0));
  OK(cuDeviceGetUuid_v2(&b, 0));
  EXPECT(std::memcmp(&a, &b, 16) == 0);
}

TEST(errors_have_names) {
  const char* text = "x";
  OK(cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
  EXPECT(text == std::string("CUDA_ERROR_ILLEGAL_ADDRESS"));
  OK(cuGetErrorString(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
  EXPECT(text == std::string("an illegal memory access was encountered"));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuGetErrorName(static_cast<CUresult>(12345), &text));
  EXPECT(text == nullptr);
  GIVES(CUDA_ERROR_INVALID_VALUE, cuGetErrorString(CUDA_SUCCESS, nullptr));
}

TEST(entry_points_by_name) {
  OK(cuInit(0));
  void* p = nullptr;
  CUdriverProcAddressQueryResult status;
  OK(cuGetProcAddress_v2("cuMemAlloc", &p, 12000, 0, &status));
  EXPECT(p == reinterpret_cast<void*>(&cuMemAlloc_v2) && status == CU_GET_PROC_ADDRESS_SUCCESS);
  OK(cuGetProcAddress_v2("cuCtxCreate", &p, 11000, 0, &status));
  EXPECT(p == reinterpret_cast<void*>(&cuCtxCreate_v2));
  OK(cuGetProcAddress_v2("cuCtxCreate", &p, 13000, 0, &status));
  EXPECT(p == reinterpret_cast<void*>(&cuCtxCreate_v4));
  OK(cuGetProcAddress_v2("cuLaunchKernelEx", &p, 11050, 0, &status));
  EXPECT(!p && status == CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
  OK(cuGetProcAddress_v2("cuNonesuch", &p, 12000, 0, &status));
  EXPECT(!p && status == CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  GIVES(CUDA_ERROR_NOT_FOUND, cuGetProcAddress("cuNonesuch", &p, 12000, 0));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuGetProcAddress_v2("cuInit", &p, 14000, 0, nullptr));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuGetProcAddress_v2(nullptr, &p, 12000, 0, nullptr));
}

TEST(contexts_are_a_stack_of_each_thread) {
  OK(cuInit(0));
  CUcontext a, b, got;
  size_t n;
  GIVES(CUDA_ERROR_INVALID_CONTEXT, cuMemGetInfo_v2(&n, &n));
  GIVES(CUDA_ERROR_INVALID_CONTEXT, cuCtxPopCurrent_v2(&got));
  OK(cuCtxGetCurrent(&got));
  EXPECT(got == nullptr);
  OK(cuCtxCreate_v2(&a, 0, 0));
  OK(cuCtxCreate_v4(&b, nullptr, CU_CTX_SCHED_SPIN, 0));
  OK(cuCtxGetCurrent(&got));
  EXPECT(got == b);
  unsigned flags = 0;
  OK(cuCtxGetFlags(&flags));
  EXPECT(flags == CU_CTX_SCHED_SPIN);
  std::thread([&] {
    CUcontext current = a;
    OK(cuCtxGetCurrent(&current));
    EXPECT(current == nullptr);
  }).join();
  OK(cuCtxPopCurrent_v2(&got));
  EXPECT(got == b);
  OK(cuCtxGetCurrent(&got));
  EXPECT(got == a);
  OK(cuCtxPushCurrent_v2(b));
  OK(cuCtxDestroy_v2(a));
  GIVES(CUDA_ERROR_INVALID_CONTEXT, cuCtxPushCurrent_v2(a));
  GIVES(CUDA_ERROR_INVALID_CONTEXT, cuCtxDestroy_v2(a));
  OK(cuMemGetInfo_v2(&n, &n));
  OK(cuCtxPopCurrent_v2(nullptr));
  GIVES(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuMemGetInfo_v2(&n, &n));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuCtxCreate_v2(&a, CU_CTX_SCHED_SPIN | CU_CTX_SCHED_YIELD, 0));
}

TEST(primary_context_is_counted) {
  OK(cuInit(0));
  unsigned flags;
  int active = 1;
  OK(cuDevicePrimaryCtxGetState(0, &flags, &active));
  EXPECT(active == 0);
  GIVES(CUDA_ERROR_INVALID_CONTEXT, cuDevicePrimaryCtxRelease_v2(0));
  CUcontext a, b;
  OK(cuDevicePrimaryCtxRetain(&a, 0));
  OK(cuDevicePrimaryCtxRetain(&b, 0));
  EXPECT(a == b);
  GIVES(CUDA_ERROR_INVALID_CONTEXT, cuCtxDestroy_v2(a));
  OK(cuCtxSetCurrent(a));
  CUdeviceptr p;
  OK(cuMemAlloc_v2(&p, 100));
  OK(cuDevicePrimaryCtxRelease_v2(0));
  OK(cuMemsetD8_v2(p, 1, 100));
  OK(cuDevicePrimaryCtxRelease_v2(0));
  GIVES(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuMemsetD8_v2(p, 1, 100));
  OK(cuDevicePrimaryCtxRetain(&b, 0));
  EXPECT(a != b);
  OK(cuCtxSetCurrent(b));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemsetD8_v2(p, 1, 100));
}

TEST(limits) {
  begin();
  size_t v = 0;
  OK(cuCtxGetLimit(&v, CU_LIMIT_PRINTF_FIFO_SIZE));
  EXPECT(v == 1 << 20);
  OK(cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, 1 << 24));
  OK(cuCtxGetLimit(&v, CU_LIMIT_MALLOC_HEAP_SIZE));
  EXPECT(v == 1 << 24);
  GIVES(CUDA_ERROR_NOT_SUPPORTED, cuCtxSetLimit(static_cast<CUlimit>(99), 1));
  OK(cuCtxResetPersistingL2Cache());
  int least = 1, greatest = 1;
  OK(cuCtxGetStreamPriorityRange(&least, &greatest));
  EXPECT(least == 0 && greatest < 0);
}
