// Modules, libraries, kernels and launches.
#include "host.h"

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

// The sizes are those that ptxas reports: a kernel has the shared variables that it uses, itself or in functions that it
// may call.
TEST(shared_memory_of_a_kernel) {
  begin();
  OK(cuModuleLoadData(&module, R"(
.version 7.8
.target sm_80
.address_size 64
.shared .align 8 .b8 first[1000];
.shared .align 16 .b8 second[2048];
.func (.param .b32 r) of_second() {
  .reg .b32 %r; mov.u32 %r, second; st.param.b32 [r], %r; ret;
}
.func (.param .b32 r) of_own() {
  .shared .align 4 .b8 own[64];
  .reg .b32 %r; mov.u32 %r, own; st.param.b32 [r], %r; ret;
}
.visible .entry none(.param .u64 out) { ret; }
.visible .entry both(.param .u64 out) {
  .reg .b32 %r<4>; .reg .b64 %rd1; .param .b32 r;
  call (r), of_second;
  ld.param.b32 %r1, [r];
  st.shared.u32 [first + 4], 5; st.shared.u32 [%r1], 7;
  ld.shared.u32 %r2, [first + 4]; ld.shared.u32 %r3, [%r1]; add.u32 %r2, %r2, %r3;
  ld.param.u64 %rd1, [out]; st.global.u32 [%rd1], %r2; st.global.u32 [%rd1 + 4], %r1;
  ret;
}
.visible .entry called(.param .u64 out) {
  .reg .b32 %r1; .reg .b64 %rd1; .param .b32 r;
  call (r), of_second;
  ld.param.b32 %r1, [r]; ld.param.u64 %rd1, [out]; st.global.u32 [%rd1], %r1;
  ret;
}
.visible .entry pointer(.param .u64 out) {
  .reg .b32 %r1; .reg .b64 %rd<3>; .param .b32 r;
  mov.u64 %rd2, of_own;
T: .callprototype (.param .b32 _) _ ();
  call (r), %rd2, (), T;
  ld.param.b32 %r1, [r]; ld.param.u64 %rd1, [out]; st.global.u32 [%rd1], %r1;
  ret;
}
)"));
  auto bytes = [](const char* name) {
    int v = -1;
    OK(cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function(name)));
    return v;
  };
  EXPECT(bytes("none") == 0 && bytes("both") == 1008 + 2048 && bytes("called") == 2048 && bytes("pointer") == 64);
  const CUdeviceptr out = device_words({0, 0});
  OK(launch(function("both"), 1, 1, 0, nullptr, out));
  EXPECT(words_at(out, 2)[0] == 5 + 7 && words_at(out, 2)[1] == 1008);
  OK(launch(function("called"), 1, 1, 0, nullptr, out));
  EXPECT(words_at(out, 1)[0] == 0);
  OK(launch(function("both"), 1, 1, 0, nullptr, out));
  OK(launch(function("pointer"), 1, 1, 0, nullptr, out));
  EXPECT(words_at(out, 1)[0] == 0);
  GIVES(CUDA_ERROR_INVALID_PTX, cuModuleLoadData(&module, R"(
.version 7.8
.target sm_80
.address_size 64
.shared .b32 word;
.global .u64 pointer = word;
)"));
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
