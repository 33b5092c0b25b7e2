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

TEST(modules) {
  begin();
  CUmodule m = nullptr;
  const char elf[] = "\177ELF\2\1\1";
  const uint32_t fat[] = {0xba55ed50, 0};
  GIVES(CUDA_ERROR_NO_BINARY_FOR_GPU, cuModuleLoadData(&m, elf));
  GIVES(CUDA_ERROR_NO_BINARY_FOR_GPU, cuModuleLoadData(&m, fat));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuModuleLoadData(&m, nullptr));
  char log[200] = "", info[10] = "";
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, CU_JIT_INFO_LOG_BUFFER,
                            CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES};
  void* values[] = {log, reinterpret_cast<void*>(sizeof log), info, reinterpret_cast<void*>(sizeof info)};
  GIVES(CUDA_ERROR_INVALID_PTX,
        cuModuleLoadDataEx(&m,
                           ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry f() {\n frobnicate.u32;\n}",
                           4, options, values));
  EXPECT(std::strstr(log, "line 5") && std::strstr(log, "frobnicate"));
  EXPECT(reinterpret_cast<size_t>(values[1]) == std::strlen(log));
  char tiny[4] = {9, 9, 9, 9};
  void* small[] = {tiny, reinterpret_cast<void*>(3)};
  GIVES(CUDA_ERROR_INVALID_PTX, cuModuleLoadDataEx(&m, "nonsense", 2, options, small));
  EXPECT(tiny[2] == 0 && tiny[3] == 9);
  GIVES(CUDA_ERROR_INVALID_PTX,
        cuModuleLoadData(&m, ".version 8.0\n.target sm_90\n.address_size 64\n"));  // requires a newer device
  CUfunction f = nullptr;
  GIVES(CUDA_ERROR_NOT_FOUND, cuModuleGetFunction(&f, module, "nonesuch"));
  CUdeviceptr p = 0;
  size_t n = 0;
  OK(cuModuleGetGlobal_v2(&p, &n, module, "counter"));
  EXPECT(n == 4 && words_at(p, 1)[0] == 7);
  GIVES(CUDA_ERROR_NOT_FOUND, cuModuleGetGlobal_v2(&p, &n, module, "nonesuch"));
  unsigned count = 0;
  OK(cuModuleGetFunctionCount(&count, module));
  EXPECT(count == 11);
  f = function("nap");
  OK(cuModuleUnload(module));
  GIVES(CUDA_ERROR_INVALID_HANDLE, launch(f, 1, 32, 0, nullptr));
  GIVES(CUDA_ERROR_INVALID_HANDLE, cuModuleUnload(module));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemsetD8_v2(p, 0, 4));
}

TEST(libraries) {
  OK(cuInit(0));
  CUlibrary library;
  CUkernel kernel;
  OK(cuLibraryLoadData(&library, kPtx, nullptr, nullptr, 0, nullptr, nullptr, 0));
  OK(cuLibraryGetKernel(&kernel, library, "multiply"));
  GIVES(CUDA_ERROR_NOT_FOUND, cuLibraryGetKernel(&kernel, library, "nonesuch"));
  for (int i = 0; i < 2; i++) {
    OK(cuCtxCreate_v2(&context, 0, 0));
    const CUdeviceptr p = device_words({6});
    OK(launch(reinterpret_cast<CUfunction>(kernel), 1, 1, 0, nullptr, p, 7u));
    EXPECT(words_at(p, 1)[0] == 42);
  }
  CUfunction f;
  OK(cuKernelGetFunction(&f, kernel));
  const char* name = "";
  OK(cuFuncGetName(&name, f));
  EXPECT(name == std::string("multiply"));
  OK(cuLibraryUnload(library));
  GIVES(CUDA_ERROR_INVALID_HANDLE, cuKernelGetFunction(&f, kernel));
  GIVES(CUDA_ERROR_INVALID_HANDLE, launch(f, 1, 1, 0, nullptr, CUdeviceptr{0}, 7u));
}

TEST(function_attributes) {
  begin();
  auto attribute = [](const char* name, CUfunction_attribute a) {
    int v = -1;
    OK(cuFuncGetAttribute(&v, a, function(name)));
    return v;
  };
  EXPECT(attribute("shared_last", CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES) == 1024);
  EXPECT(attribute("shared_last", CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) == 47 * 1024);
  EXPECT(attribute("bounded", CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK) == 128);
  EXPECT(attribute("exact", CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK) == 128);
  EXPECT(attribute("add", CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK) == 1024);
  EXPECT(attribute("add", CU_FUNC_ATTRIBUTE_NUM_REGS) >= 16);
  EXPECT(attribute("add", CU_FUNC_ATTRIBUTE_BINARY_VERSION) == 80);
  size_t offset, size;  // PTX ISA: each parameter at its alignment
  OK(cuFuncGetParamInfo(function("sizes"), 1, &offset, &size));
  EXPECT(offset == 8 && size == 8);
  OK(cuFuncGetParamInfo(function("sizes"), 2, &offset, &size));
  EXPECT(offset == 16 && size == 24);
  GIVES(CUDA_ERROR_INVALID_VALUE, cuFuncGetParamInfo(function("sizes"), 3, &offset, &size));
  int blocks = 0;
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function("bounded"), 128, 0));
  EXPECT(blocks == 16);  // 2048 threads
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function("shared_last"), 32, 39 * 1024));
  EXPECT(blocks == 4);  // 164 KiB, at 1 + 39 + 1 KiB per block
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function("bounded"), 256, 0));
  EXPECT(blocks == 0);
  int grid = 0, block = 0;
  OK(cuOccupancyMaxPotentialBlockSize(&grid, &block, function("bounded"), nullptr, 0, 0));
  EXPECT(block == 128 && grid == 16 * 108);
}

TEST(launch_limits) {
  begin();
  const CUfunction nap = function("nap"), shared = function("shared_last");
  auto shape = [&](unsigned gx, unsigned gy, unsigned bx, unsigned by, unsigned bz) {
    return cuLaunchKernel(nap, gx, gy, 1, bx, by, bz, 0, nullptr, nullptr, nullptr);
  };
  OK(shape(1, 1, 1024, 1, 1));
  GIVES(CUDA_ERROR_INVALID_VALUE, shape(1, 1, 1025, 1, 1));
  GIVES(CUDA_ERROR_INVALID_VALUE, shape(1, 1, 32, 33, 1));
  GIVES(CUDA_ERROR_INVALID_VALUE, shape(1, 1, 1, 1, 65));
  GIVES(CUDA_ERROR_INVALID_VALUE, shape(0, 1, 32, 1, 1));
  GIVES(CUDA_ERROR_INVALID_VALUE, shape(1, 65536, 32, 1, 1));
  GIVES(CUDA_ERROR_INVALID_VALUE, shape(1, 1, 0, 1, 1));
  GIVES(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, launch(function("bounded"), 1, 129, 0, nullptr));
  OK(launch(function("bounded"), 1, 128, 0, nullptr));
  OK(cuLaunchKernel(function("exact"), 1, 1, 1, 64, 2, 1, 0, nullptr, nullptr, nullptr));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(function("exact"), 1, 1, 1, 128, 1, 1, 0, nullptr, nullptr, nullptr));
  const CUdeviceptr p = device_words({0});
  OK(launch(shared, 1, 1, 47 * 1024, nullptr, p, 47u * 1024));
  EXPECT(words_at(p, 1)[0] == 77);
  GIVES(CUDA_ERROR_INVALID_VALUE, launch(shared, 1, 1, 47 * 1024 + 4, nullptr, p, 47u * 1024 + 4));
  GIVES(CUDA_ERROR_INVALID_VALUE,
        cuFuncSetAttribute(shared, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 162 * 1024 + 1));
  OK(cuFuncSetAttribute(shared, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 162 * 1024));
  OK(cuMemsetD32_v2(p, 0, 1));
  OK(launch(shared, 1, 1, 162 * 1024, nullptr, p, 162u * 1024));
  EXPECT(words_at(p, 1)[0] == 77);
  GIVES(CUDA_ERROR_INVALID_VALUE, cuFuncSetAttribute(shared, CU_FUNC_ATTRIBUTE_NUM_REGS, 32));
  OK(cuLaunchCooperativeKernel(nap, 108 * 2, 1, 1, 1024, 1, 1, 0, nullptr, nullptr));
  GIVES(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
        cuLaunchCooperativeKernel(nap, 108 * 2 + 1, 1, 1, 1024, 1, 1, 0, nullptr, nullptr));
  OK(cuCtxSynchronize());
}

TEST(parameters_in_a_buffer) {
  begin();
  const CUdeviceptr p = device_words({5});
  struct {
    CUdeviceptr out;
    uint32_t value;
  } buffer{p, 8};
  size_t bytes = 12;
  void* extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &buffer, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
  void* both[] = {&buffer.out, &buffer.value};
  OK(cuLaunchKernel(function("multiply"), 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, extra));
  EXPECT(words_at(p, 1)[0] == 40);
  GIVES(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(function("multiply"), 1, 1, 1, 1, 1, 1, 0, nullptr, both, extra));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(function("multiply"), 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr));
  bytes = 11;
  GIVES(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(function("multiply"), 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, extra));
  void* missing[] = {&buffer.out, nullptr};
  GIVES(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(function("multiply"), 1, 1, 1, 1, 1, 1, 0, nullptr, missing, nullptr));
}

TEST(clusters_need_compute_capability_9) {
  begin();
  CUlaunchAttribute a{};
  a.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
  a.value.clusterDim = {2, 1, 1};
  CUlaunchConfig config{4, 1, 1, 32, 1, 1, 0, nullptr, &a, 1};
  GIVES(CUDA_ERROR_NOT_SUPPORTED, cuLaunchKernelEx(&config, function("nap"), nullptr, nullptr));
}

TEST(launch_attributes) {
  setenv("CARACAL_VGPU_COMPUTE", "9.0", 1);
  begin();
  const CUevent event = new_event();
  CUlaunchAttribute a[3]{};
  a[0].id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
  a[0].value.clusterDim = {2, 1, 1};
  a[1].id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  a[1].value.programmaticStreamSerializationAllowed = 1;
  a[2].id = CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT;
  a[2].value.launchCompletionEvent.event = event;
  CUlaunchConfig config{4, 1, 1, 32, 1, 1, 0, nullptr, a, 3};
  OK(cuLaunchKernelEx(&config, function("nap"), nullptr, nullptr));
  OK(cuEventSynchronize(event));
  OK(cuEventQuery(event));
  config.gridDimX = 5;
  GIVES(CUDA_ERROR_INVALID_CLUSTER_SIZE, cuLaunchKernelEx(&config, function("nap"), nullptr, nullptr));
  config.gridDimX = 16;
  a[0].value.clusterDim.x = 16;
  GIVES(CUDA_ERROR_INVALID_CLUSTER_SIZE, cuLaunchKernelEx(&config, function("nap"), nullptr, nullptr));
  OK(cuFuncSetAttribute(function("nap"), CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1));
  OK(cuLaunchKernelEx(&config, function("nap"), nullptr, nullptr));
  a[2].value.launchCompletionEvent.event = reinterpret_cast<CUevent>(context);
  GIVES(CUDA_ERROR_INVALID_HANDLE, cuLaunchKernelEx(&config, function("nap"), nullptr, nullptr));
  OK(cuCtxSynchronize());
}
