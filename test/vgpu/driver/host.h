#pragma once
// Support for host programs: each TEST runs in its own process, selected by name. PTX is included as text, so nvcc is
// not needed.
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "caracal_vgpu.h"
#include "cuda/cuda_api.h"

struct Test {
  const char* name;
  void (*run)();
};
inline std::vector<Test>& tests() {
  static std::vector<Test> list;
  return list;
}
inline int failures = 0;

#define TEST(name)                                                            \
  static void name();                                                         \
  static const bool name##_listed = (tests().push_back({#name, name}), true); \
  static void name()

inline const char* error_name(CUresult r) {
  const char* text = nullptr;
  return cuGetErrorName(r, &text) == CUDA_SUCCESS ? text : "?";
}
#define GIVES(expected, call)                                                                                 \
  do {                                                                                                        \
    const CUresult got_ = (call);                                                                             \
    if (got_ != (expected)) {                                                                                 \
      std::printf("%s:%d: %s gives %s, not %s. %s\n", __FILE__, __LINE__, #call, error_name(got_), #expected, \
                  caracalVgpuReport());                                                                       \
      failures++;                                                                                             \
    }                                                                                                         \
  } while (0)
#define OK(call) GIVES(CUDA_SUCCESS, call)
#define EXPECT(condition)                                                                  \
  do {                                                                                     \
    if (!(condition)) {                                                                    \
      std::printf("%s:%d: %s. %s\n", __FILE__, __LINE__, #condition, caracalVgpuReport()); \
      failures++;                                                                          \
    }                                                                                      \
  } while (0)

// add: out[i] += value for i < n. fill: out[global thread] = value. spin: never ends. oob: writes to out + offset.
inline const char* const kPtx = R"(
.version 7.8
.target sm_80
.address_size 64
.global .align 4 .u32 counter = 7;
.visible .entry add(.param .u64 out, .param .u32 value, .param .u32 n) {
  .reg .b32 %r<8>; .reg .b64 %rd<4>; .reg .pred %p;
  ld.param.u64 %rd1, [out]; ld.param.u32 %r1, [value]; ld.param.u32 %r2, [n];
  mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ntid.x; mov.u32 %r5, %tid.x;
  mad.lo.s32 %r6, %r3, %r4, %r5;
  setp.ge.u32 %p, %r6, %r2;
  @%p ret;
  mul.wide.u32 %rd2, %r6, 4; add.s64 %rd3, %rd1, %rd2;
  ld.global.u32 %r7, [%rd3]; add.s32 %r7, %r7, %r1; st.global.u32 [%rd3], %r7;
  ret;
}
.visible .entry multiply(.param .u64 out, .param .u32 value) {
  .reg .b32 %r<3>; .reg .b64 %rd<2>;
  ld.param.u64 %rd1, [out]; ld.param.u32 %r1, [value];
  ld.global.u32 %r2, [%rd1]; mul.lo.s32 %r2, %r2, %r1; st.global.u32 [%rd1], %r2;
  ret;
}
.visible .entry spin() {
LOOP:
  bra LOOP;
}
.visible .entry oob(.param .u64 out, .param .u64 offset) {
  .reg .b64 %rd<4>;
  ld.param.u64 %rd1, [out]; ld.param.u64 %rd2, [offset]; add.s64 %rd3, %rd1, %rd2;
  st.global.u64 [%rd3], %rd1;
  ret;
}
.extern .shared .align 16 .b8 dynamic[];
.visible .entry shared_last(.param .u64 out, .param .u32 bytes) {
  .shared .align 4 .b8 fixed[1024];
  .reg .b32 %r<4>; .reg .b64 %rd<2>;
  ld.param.u64 %rd1, [out]; ld.param.u32 %r1, [bytes];
  mov.u32 %r2, dynamic; add.s32 %r2, %r2, %r1;
  mov.u32 %r3, 77; st.shared.u32 [%r2+-4], %r3; ld.shared.u32 %r3, [%r2+-4];
  st.global.u32 [%rd1], %r3;
  ret;
}
.visible .entry bounded() .maxntid 128 { ret; }
.visible .entry exact() .reqntid 64, 2 { ret; }
.visible .entry sizes(.param .u8 a, .param .u64 b, .param .align 16 .b8 c[24]) { ret; }
.visible .entry trapped() { trap; }
.visible .entry nap() { .reg .b32 %r; mov.u32 %r, 100; nanosleep.u32 %r; nanosleep.u32 %r; ret; }
.visible .entry stuck(.param .u64 out) {
  .reg .pred %p; .reg .b32 %r;
  mov.u32 %r, %tid.x; setp.lt.u32 %p, %r, 32;
  @%p bar.sync 1, 64;
  bar.sync 0;
  ret;
}
)";

inline CUcontext context;
inline CUmodule module;
inline void begin(unsigned flags = 0) {
  OK(cuInit(0));
  CUdevice device;
  OK(cuDeviceGet(&device, 0));
  OK(cuCtxCreate_v2(&context, flags, device));
  OK(cuModuleLoadData(&module, kPtx));
}
inline CUfunction function(const char* name) {
  CUfunction f = nullptr;
  OK(cuModuleGetFunction(&f, module, name));
  return f;
}
template <class... T>
CUresult launch(CUfunction f, unsigned grid, unsigned block, unsigned shared, CUstream stream, T... values) {
  void* parameters[] = {&values..., nullptr};
  return cuLaunchKernel(f, grid, 1, 1, block, 1, 1, shared, stream, parameters, nullptr);
}
inline CUdeviceptr device_words(const std::vector<uint32_t>& words) {
  CUdeviceptr p = 0;
  OK(cuMemAlloc_v2(&p, words.size() * 4));
  OK(cuMemcpyHtoD_v2(p, words.data(), words.size() * 4));
  return p;
}
inline std::vector<uint32_t> words_at(CUdeviceptr p, size_t n) {
  std::vector<uint32_t> words(n);
  OK(cuMemcpyDtoH_v2(words.data(), p, n * 4));
  return words;
}
inline CUstream new_stream(unsigned flags = CU_STREAM_DEFAULT) {
  CUstream s = nullptr;
  OK(cuStreamCreate(&s, flags));
  return s;
}
inline CUevent new_event() {
  CUevent e = nullptr;
  OK(cuEventCreate(&e, CU_EVENT_DEFAULT));
  return e;
}

int main(int argc, char** argv) {
  for (const Test& t : tests()) {
    if (argc < 2) std::printf("%s\n", t.name);
    if (argc < 2 || t.name != std::string(argv[1])) continue;
    t.run();
    return failures ? 1 : 0;
  }
  return argc < 2 ? 0 : 2;
}
