#pragma once
// mbarrier objects (PTX ISA, "Parallel Synchronization and Communication Instructions: mbarrier"). 64 opaque bits in
// shared memory, ours:
//   0-19 pending arrivals, 20-39 expected arrivals, 40-60 bytes still to be transferred (signed), 61-62 a mark,
//   63 phase
#include <cstddef>
#include <cstdint>

namespace vgpu {

class Warp;

namespace mbarrier {

constexpr uint32_t kMostArrivals = (1u << 20) - 1;
constexpr int32_t kMostBytes = (1 << 20) - 1;

// How an arrival differs from the plain one.
constexpr uint8_t kDrop = 1;          // the thread does not come in later phases
constexpr uint8_t kIncomplete = 2;    // .noComplete: must not complete the phase
constexpr uint8_t kAsynchronous = 4;  // by a copy

// The lane is the one to blame. All but init need an object that init has made. @throws DeviceFault
void init(Warp& w, int lane, std::byte* at, uint32_t count);
void invalidate(Warp& w, int lane, std::byte* at);
// Returns the object as it was before.
uint64_t arrive(Warp& w, int lane, std::byte* at, uint32_t count, uint8_t how);
// One more arrival before the phase completes.
void increase_pending(Warp& w, int lane, std::byte* at);
// `bytes` more (expect) or fewer (complete) before the phase completes.
void transfer(Warp& w, int lane, std::byte* at, int64_t bytes);
// Whether the phase of that parity has completed: it is the current one or the one before it.
bool completed(Warp& w, int lane, std::byte* at, bool parity);

inline bool parity_of(uint64_t state) { return state >> 63; }
inline uint32_t pending_of(uint64_t state) { return state & kMostArrivals; }

}  // namespace mbarrier
}  // namespace vgpu
