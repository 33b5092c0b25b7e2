#pragma once
// Copies from global to shared memory that bypass the registers, in groups (sm_80).
#include <cstdint>

namespace caracal::ptx {

__device__ inline uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// Copies the first `bytes` of 16 bytes and fills the rest with zeros. Both sides must be aligned to 16 bytes.
__device__ inline void cp_async_16(void* to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
               : "memory");
}

// Makes a group of the copies that this thread has started since the last commit.
__device__ inline void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for all of this thread's groups except the latest `Pending`.
template <int Pending>
__device__ inline void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

}  // namespace caracal::ptx
