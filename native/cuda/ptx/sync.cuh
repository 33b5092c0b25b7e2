#pragma once
// Atomic accesses that order what is around them, for blocks that wait for each other.

namespace caracal::ptx {

// What this thread, and those it has met at a barrier, wrote before is seen by whoever acquires the sum.
__device__ inline void add_release_gpu(unsigned* p, unsigned v) {
  asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

__device__ inline unsigned load_acquire_gpu(const unsigned* p) {
  unsigned v;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}

}  // namespace caracal::ptx
