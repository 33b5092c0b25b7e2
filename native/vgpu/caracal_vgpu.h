#pragma once
// The virtual GPU's functions beyond the CUDA Driver API. A returned string is valid until the same thread calls the
// same function again.
#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

// The full report of the last error: a kernel's fault, why a launch was refused, or why PTX failed to load.
const char* caracalVgpuReport(void);
// The counters of the last launch as a JSON object; empty unless CARACAL_VGPU_COUNT is set.
const char* caracalVgpuCounters(void);
// Output that kernels have printed since the last call. Unless caracalVgpuKeepPrinted(1) was called, output goes to
// stdout when the host synchronises and is not returned here.
const char* caracalVgpuPrinted(void);
void caracalVgpuKeepPrinted(int keep);
// Resets the library to its state just after loading; the next cuInit reads the environment again. No other thread may
// be inside a call.
void caracalVgpuReset(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
