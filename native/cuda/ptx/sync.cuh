#pragma once
// Atomic accesses that order the surrounding accesses, for blocks that wait for each other.

namespace caracal::ptx {

// Earlier writes of this thread, and of the threads it has synchronised with, become visible to any thread that acquires
// the sum.
__device__ inline void add_release_gpu(unsigned* p, unsigned v) {
  asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

// Pairs with add_release_gpu.
__device__ inline unsigned load_acquire_gpu(const unsigned* p) {
  unsigned v;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}

}  // namespace caracal::ptx
