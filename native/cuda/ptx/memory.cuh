#pragma once
#include <cstdint>

namespace caracal::ptx {

// Stores 16 bytes to global memory, aligned to 16 bytes. nvcc might split the store of a struct.
__device__ inline void store_global_16(void* to, uint4 v) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}

}  // namespace caracal::ptx
