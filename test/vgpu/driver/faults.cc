// Failures: faults on the device, injected faults, invalid handles.
#include "host.h"

TEST(a_fault_stays) {
  begin();
  const CUdeviceptr p = device_words({1, 2});
  OK(launch(function("oob"), 1, 1, 0, nullptr, p, uint64_t{8}));
  GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, cuCtxSynchronize());
  EXPECT(std::strstr(caracalVgpuReport(), "0 bytes past an allocation of 8 bytes"));
  CUdeviceptr q;
  uint32_t word;
  CUmodule m;
  GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, cuCtxSynchronize());
  GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, cuMemAlloc_v2(&q, 4));
  GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, cuMemFree_v2(p));
  GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, cuMemcpyDtoH_v2(&word, p, 4));
  GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, cuModuleLoadData(&m, kPtx));
  GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(nullptr));
  OK(cuCtxDestroy_v2(context));
  begin();  // another context is not affected
  EXPECT(words_at(device_words({5}), 1)[0] == 5);
}

TEST(every_kind_of_fault) {
  auto gives = [](CUresult expected, const char* name, auto... parameters) {
    begin();
    OK(launch(function(name), 1, 64, 0, nullptr, parameters...));
    GIVES(expected, cuCtxSynchronize());
    OK(cuCtxDestroy_v2(context));
  };
  setenv("CARACAL_VGPU_BUDGET", "100000", 1);
  OK(cuInit(0));
  gives(CUDA_ERROR_LAUNCH_FAILED, "trapped");
  gives(CUDA_ERROR_LAUNCH_TIMEOUT, "spin");
  EXPECT(std::strstr(caracalVgpuReport(), "warp 1") && std::strstr(caracalVgpuReport(), "bra"));
  gives(CUDA_ERROR_LAUNCH_FAILED, "stuck", CUdeviceptr{0});
  EXPECT(std::strstr(caracalVgpuReport(), "deadlock") && std::strstr(caracalVgpuReport(), "bar.sync"));
  gives(CUDA_SUCCESS, "nap");
}

TEST(faults_by_request) {
  setenv("CARACAL_VGPU_FAULT", "alloc:2,launch:2", 1);
  begin();
  CUdeviceptr p, q;
  OK(cuMemAlloc_v2(&p, 4));
  GIVES(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&q, 4));
  OK(cuMemAlloc_v2(&q, 4));
  OK(launch(function("nap"), 1, 1, 0, nullptr));
  OK(cuCtxSynchronize());
  OK(launch(function("nap"), 1, 1, 0, nullptr));
  GIVES(CUDA_ERROR_LAUNCH_FAILED, cuCtxSynchronize());
}

TEST(device_lost) {
  setenv("CARACAL_VGPU_FAULT", "lost:3", 1);
  OK(cuInit(0));
  int n;
  OK(cuDeviceGetCount(&n));
  OK(cuDeviceGetCount(&n));
  GIVES(CUDA_ERROR_UNKNOWN, cuDeviceGetCount(&n));
  GIVES(CUDA_ERROR_UNKNOWN, cuCtxCreate_v2(&context, 0, 0));
}

TEST(old_driver) {
  setenv("CARACAL_VGPU_FAULT", "driver:11080", 1);
  int version = 0;
  OK(cuDriverGetVersion(&version));
  EXPECT(version == 11080);
  begin();  // PTX 7.8
  CUmodule m;
  GIVES(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, cuModuleLoadData(&m, ".version 8.0\n.target sm_80\n.address_size 64\n"));
  void* p;
  GIVES(CUDA_ERROR_INVALID_VALUE, cuGetProcAddress("cuInit", &p, 12000, 0));
}

TEST(malformed_settings) {
  const char* bad[][2] = {
      {"CARACAL_VGPU_COMPUTE", "9"},   {"CARACAL_VGPU_DEVICES", "-1"},       {"CARACAL_VGPU_DEVICES", "17"},
      {"CARACAL_VGPU_MEMORY", "lots"}, {"CARACAL_VGPU_MEMORY", "0"},         {"CARACAL_VGPU_SEED", "1x"},
      {"CARACAL_VGPU_FAULT", "alloc"}, {"CARACAL_VGPU_FAULT", "alloc:0"},    {"CARACAL_VGPU_FAULT", "fire:1"},
      {"CARACAL_VGPU_ORDER", "early"}, {"CARACAL_VGPU_CHECK", "racecheck;"}, {"CARACAL_VGPU_BUDGET", ""}};
  for (const auto& [name, value] : bad) {
    setenv(name, value, 1);
    if (*value) GIVES(CUDA_ERROR_INVALID_VALUE, cuInit(0));
    unsetenv(name);
  }
  setenv("CARACAL_VGPU_DEVICES", "0", 1);
  GIVES(CUDA_ERROR_NO_DEVICE, cuInit(0));
  unsetenv("CARACAL_VGPU_DEVICES");
  OK(cuInit(0));
}

TEST(reset_begins_anew) {
  begin();
  CUdeviceptr p = device_words({1});
  OK(launch(function("oob"), 1, 1, 0, nullptr, p, uint64_t{8}));
  GIVES(CUDA_ERROR_ILLEGAL_ADDRESS, cuCtxSynchronize());
  caracalVgpuReset();
  GIVES(CUDA_ERROR_NOT_INITIALIZED, cuCtxSynchronize());
  setenv("CARACAL_VGPU_COMPUTE", "9.0", 1);
  begin();
  int major = 0, minor = 0;
  OK(cuDeviceComputeCapability(&major, &minor, 0));
  EXPECT(major == 9);
}

// Each invalid or mistyped handle gives an error and never a crash.
TEST(wrong_handles) {
  begin();
  const CUstream stream = new_stream();
  const CUevent event = new_event();
  void* wrong[] = {nullptr,  reinterpret_cast<void*>(8), reinterpret_cast<void*>(-1), context, module, stream, event,
                   &failures};
  for (void* w : wrong) {
    CUfunction f;
    CUdeviceptr p;
    size_t n = 0;
    int v;
    CUgraph g;
    CUgraphNode node;
    CUgraphExec exec;
    CUgraphNodeType type;
    const auto as_stream = static_cast<CUstream>(w);
    if (w != module) {
      GIVES(CUDA_ERROR_INVALID_HANDLE, cuModuleGetFunction(&f, static_cast<CUmodule>(w), "nap"));
      GIVES(CUDA_ERROR_INVALID_HANDLE, cuModuleGetGlobal_v2(&p, &n, static_cast<CUmodule>(w), "counter"));
      GIVES(CUDA_ERROR_INVALID_HANDLE, cuModuleUnload(static_cast<CUmodule>(w)));
    }
    GIVES(CUDA_ERROR_INVALID_HANDLE, cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_NUM_REGS, static_cast<CUfunction>(w)));
    GIVES(CUDA_ERROR_INVALID_HANDLE, launch(static_cast<CUfunction>(w), 1, 1, 0, nullptr));
    if (w && w != stream) {
      GIVES(CUDA_ERROR_INVALID_HANDLE, cuStreamSynchronize(as_stream));
      GIVES(CUDA_ERROR_INVALID_HANDLE, cuStreamDestroy_v2(as_stream));
      GIVES(CUDA_ERROR_INVALID_HANDLE, launch(function("nap"), 1, 1, 0, as_stream));
      GIVES(CUDA_ERROR_INVALID_HANDLE, cuLaunchHostFunc(as_stream, [](void*) {}, nullptr));
    }
    if (w != event) {
      GIVES(CUDA_ERROR_INVALID_HANDLE, cuEventRecord(static_cast<CUevent>(w), nullptr));
      GIVES(CUDA_ERROR_INVALID_HANDLE, cuStreamWaitEvent(stream, static_cast<CUevent>(w), 0));
    }
    if (w && w != context) GIVES(CUDA_ERROR_INVALID_CONTEXT, cuCtxSetCurrent(static_cast<CUcontext>(w)));
    GIVES(CUDA_ERROR_INVALID_VALUE, cuGraphInstantiateWithFlags(&exec, static_cast<CUgraph>(w), 0));
    GIVES(CUDA_ERROR_INVALID_VALUE, cuGraphLaunch(static_cast<CUgraphExec>(w), stream));
    GIVES(CUDA_ERROR_INVALID_VALUE, cuGraphNodeGetType(static_cast<CUgraphNode>(w), &type));
    OK(cuGraphCreate(&g, 0));
    auto as_node = static_cast<CUgraphNode>(w);
    GIVES(CUDA_ERROR_INVALID_VALUE, cuGraphAddEmptyNode(&node, g, &as_node, 1));
    GIVES(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(w));
    if (w) GIVES(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(reinterpret_cast<CUdeviceptr>(w)));
  }
  OK(cuCtxSynchronize());
}

TEST(null_arguments) {
  begin();
  GIVES(CUDA_ERROR_INVALID_VALUE, cuModuleLoadData(nullptr, kPtx));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuModuleGetFunction(nullptr, module, "nap"));
  CUfunction f;
  GIVES(CUDA_ERROR_INVALID_VALUE, cuModuleGetFunction(&f, module, nullptr));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuLaunchKernelEx(nullptr, f, nullptr, nullptr));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuStreamCreate(nullptr, 0));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuEventCreate(nullptr, 0));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D_v2(nullptr));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemcpy3D_v2(nullptr));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemGetInfo_v2(nullptr, nullptr));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuLaunchHostFunc(nullptr, nullptr, nullptr));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuMemHostAlloc(nullptr, 4, 0));
  GIVES(CUDA_ERROR_INVALID_VALUE, cuCtxGetLimit(nullptr, CU_LIMIT_STACK_SIZE));
}

TEST(tensor_maps) {
  setenv("CARACAL_VGPU_COMPUTE", "9.0", 1);
  begin();
  CUdeviceptr p;
  OK(cuMemAlloc_v2(&p, 1 << 16));
  struct {
    CUtensorMapDataType type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    cuuint32_t rank = 2;
    CUdeviceptr address = 0;
    cuuint64_t dims[5] = {64, 32, 1, 1, 1}, strides[4] = {128, 4096, 4096, 4096};
    cuuint32_t box[5] = {64, 16, 1, 1, 1}, steps[5] = {1, 1, 1, 1, 1};
    CUtensorMapInterleave interleave = CU_TENSOR_MAP_INTERLEAVE_NONE;
    CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_128B;
    CUtensorMapFloatOOBfill fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
  } good;
  good.address = p;
  CUtensorMap map;
  auto encode = [&](auto change) {
    auto t = good;
    change(t);
    return cuTensorMapEncodeTiled(&map, t.type, t.rank, reinterpret_cast<void*>(t.address), t.dims, t.strides, t.box,
                                  t.steps, t.interleave, t.swizzle, CU_TENSOR_MAP_L2_PROMOTION_NONE, t.fill);
  };
  OK(encode([](auto&) {}));
  OK(encode([](auto& t) { t.fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA; }));
  OK(encode([](auto& t) { t.dims[1] = uint64_t{1} << 32; }));
  OK(encode([](auto& t) { t.rank = 5; }));
#define REFUSED(...) GIVES(CUDA_ERROR_INVALID_VALUE, encode([](auto& t) { __VA_ARGS__; }))
  REFUSED(t.rank = 0);
  REFUSED(t.rank = 6);
  REFUSED(t.address += 8);
  REFUSED(t.address = 0);
  REFUSED(t.dims[0] = 0);
  REFUSED(t.dims[1] = (uint64_t{1} << 32) + 1);
  REFUSED(t.strides[0] = 120);
  REFUSED(t.strides[0] = uint64_t{1} << 40);
  REFUSED(t.box[1] = 0);
  REFUSED(t.box[1] = 257);
  REFUSED(t.box[0] = 4);
  REFUSED(t.box[0] = 72);
  REFUSED(t.swizzle = CU_TENSOR_MAP_SWIZZLE_64B);
  REFUSED(t.steps[1] = 0);
  REFUSED(t.steps[1] = 9);
  REFUSED(t.interleave = CU_TENSOR_MAP_INTERLEAVE_16B);
  REFUSED(t.type = CU_TENSOR_MAP_DATA_TYPE_INT32; t.box[0] = 32;
          t.fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA);
  REFUSED(t.rank = 3; t.interleave = CU_TENSOR_MAP_INTERLEAVE_32B; t.swizzle = CU_TENSOR_MAP_SWIZZLE_128B);
  GIVES(CUDA_ERROR_INVALID_VALUE,
        cuTensorMapEncodeTiled(reinterpret_cast<CUtensorMap*>(reinterpret_cast<char*>(&map) + 8), good.type, 2,
                               reinterpret_cast<void*>(p), good.dims, good.strides, good.box, good.steps,
                               good.interleave, good.swizzle, CU_TENSOR_MAP_L2_PROMOTION_NONE, good.fill));
}

// Truncated PTX, changed bytes and repeated pieces give an error or a module, in bounded time and memory.
TEST(mutated_ptx) {
  begin();
  const std::string text = kPtx;
  uint64_t state = 88172645463325252u;
  auto next = [&](uint64_t below) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state % below;
  };
  static const char* const pieces[] = {"{",
                                       "}",
                                       "(",
                                       ")",
                                       ";",
                                       "4294967295",
                                       "-1",
                                       "<4000000000>",
                                       ".reg .b32 %q<100>;",
                                       "[",
                                       "]",
                                       ".align 65536",
                                       "0x",
                                       "\"",
                                       "@!%p ",
                                       ".param .b64 z",
                                       "bra X;",
                                       "\xff",
                                       "%r99999999999999999999",
                                       "call f, (",
                                       ".v4",
                                       "//",
                                       "/*"};
  int refused = 0;
  for (int i = 0; i < 3000; i++) {
    std::string t = i < 500 ? text.substr(0, next(text.size())) : text;
    for (uint64_t n = next(4) + (i >= 500); n > 0; n--) {
      const size_t at = next(t.size() + 1);
      switch (next(3)) {
        case 0: t.insert(at, pieces[next(std::size(pieces))]); break;
        case 1: t.erase(at, next(20)); break;
        default:
          if (at < t.size()) t[at] = static_cast<char>(next(255) + 1);
      }
    }
    CUmodule m = nullptr;
    const CUresult r = cuModuleLoadData(&m, t.c_str());
    if (r == CUDA_SUCCESS)
      OK(cuModuleUnload(m));
    else if (r == CUDA_ERROR_INVALID_PTX || r == CUDA_ERROR_UNSUPPORTED_PTX_VERSION || r == CUDA_ERROR_OUT_OF_MEMORY)
      refused++;
    else
      EXPECT(!"an unexpected result");
  }
  EXPECT(refused > 1000);
}

TEST(greedy_ptx) {
  begin();
  const std::string head = ".version 7.8\n.target sm_80\n.address_size 64\n";
  std::string scopes = head + ".visible .entry f() {",
              values = head + ".global .u32 x[2] = ", names = head + ".visible .entry f() {";
  for (int i = 0; i < 100000; i++) scopes += "{", values += "{";
  for (int i = 0; i < 200; i++) names += ".reg .b32 %q" + std::to_string(i) + "x<16000000>;";
  const std::string many[] = {head + ".visible .entry f() { .reg .b32 %r<4000000000>; ret; }",
                              head + ".global .b8 x[4000000000][4000000000];",
                              head + ".visible .entry f() { .shared .b8 x[4000000000]; ret; }",
                              head + ".visible .entry f() { .local .b8 x[4000000000]; ret; }",
                              head + ".visible .entry f(.param .b8 x[4000000000]) { ret; }",
                              head + ".file 4000000000 \"x\"\n",
                              head + ".global .b8 x[1000000000000];",
                              scopes,
                              values,
                              names + "ret; }"};
  for (const auto& text : many) {
    CUmodule m;
    EXPECT(cuModuleLoadData(&m, text.c_str()) != CUDA_SUCCESS);
  }
}
