#pragma once
// The settings from the environment, read once by cuInit. A malformed value is an error and never replaced by a
// default.
#include <cstdint>
#include <string>
#include <vector>

#include "machine/launch.h"

namespace vgpu::driver {

struct Settings {
  uint32_t devices = 1;  // CARACAL_VGPU_DEVICES=0 … 16
  Limits limits;         // _COMPUTE=8.0, 8.6, 8.9 or 9.0; _MEMORY=bytes, or with K, M, G; _SM_COUNT
  // _THREADS: host threads; _SEED: 0 runs everything in order; _BUDGET: warp instructions; _CHECK=initcheck,racecheck;
  // _ASYNC=late, early or random; _ACCUMULATION=chain, exact or truncating; _APPROXIMATE=0 or 1
  Options run;
  std::string count;           // _COUNT: a file to which the counters of every launch are appended
  std::string kernels;         // _KERNELS: a file to which every kernel's name is appended at its first launch
  bool late = false;           // _ORDER=submission or late; late: nothing runs before the host waits for it
  std::string report;          // _REPORT=stderr or a file to which reports are appended
  int driver_version = 13000;  // _FAULT=driver:11080
  uint64_t failing_allocation = 0, failing_launch = 0, lost_at_call = 0;  // _FAULT=alloc:3,launch:2,lost:5
};

// Returns false, with a message on stderr, if a value is malformed.
bool read_settings(Settings& out);

}  // namespace vgpu::driver
