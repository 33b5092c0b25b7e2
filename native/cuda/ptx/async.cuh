#pragma once
// Copies from global to shared memory that pass by the registers, in groups (sm_80).
#include <cstdint>

namespace caracal::ptx {

__device__ inline uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// 16 bytes, the first `given` of them from memory and the others 0; both sides aligned to 16.
__device__ inline void cp_async_16(void* to, const void* from, int given) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(given)
               : "memory");
}

// What this thread has begun since the last commit becomes a group.
__device__ inline void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for all of this thread's groups but the latest Pending.
template <int Pending>
__device__ inline void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

}  // namespace caracal::ptx
