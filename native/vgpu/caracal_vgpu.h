#pragma once
// What the virtual GPU offers beside the CUDA Driver API. Texts last until the same thread's next call of the function.
#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

// What the last error was about, at length: the fault of a kernel, why a launch was refused or PTX not loaded.
const char* caracalVgpuReport(void);
// The counters of the last launch as a JSON object, where CARACAL_VGPU_COUNT is set; else empty.
const char* caracalVgpuCounters(void);
// What kernels have printed since it was asked last. Without caracalVgpuKeepPrinted(1) it goes to stdout where the host
// synchronises, and is not found here.
const char* caracalVgpuPrinted(void);
void caracalVgpuKeepPrinted(int keep);
// Forgets everything, as if the library had just been loaded; the environment is read anew by the next cuInit. No other
// thread may be in a call.
void caracalVgpuReset(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
