#pragma once
// mbarrier objects (PTX ISA, "Parallel Synchronization and Communication Instructions: mbarrier"): 64 bits in shared
// memory, opaque to programs and laid out as
//   0-19 pending arrivals, 20-39 expected arrivals, 40-60 pending bytes (signed), 61-62 a magic number, 63 phase.
#include <cstddef>
#include <cstdint>

namespace vgpu {

class Warp;

namespace mbarrier {

constexpr uint32_t kMaxArrivals = (1u << 20) - 1;
constexpr int32_t kMaxBytes = (1 << 20) - 1;

// Variants of an arrival.
constexpr uint8_t kDrop = 1;          // also lowers the number of arrivals expected in later phases
constexpr uint8_t kIncomplete = 2;    // .noComplete: must not complete the phase
constexpr uint8_t kAsynchronous = 4;  // made by a copy

// A fault is attributed to the lane. All functions but init require an object that init has made. @throws DeviceFault
void init(Warp& w, int lane, std::byte* at, uint32_t count);
void invalidate(Warp& w, int lane, std::byte* at);
// Returns the state before the arrival.
uint64_t arrive(Warp& w, int lane, std::byte* at, uint32_t count, uint8_t how);
// Adds one pending arrival.
void increase_pending(Warp& w, int lane, std::byte* at);
// Adds (expect) or subtracts (complete) pending bytes.
void transfer(Warp& w, int lane, std::byte* at, int64_t bytes);
// True if the phase of that parity, the current or the preceding one, has completed.
bool completed(Warp& w, int lane, std::byte* at, bool parity);

inline bool parity_of(uint64_t state) { return state >> 63; }
inline uint32_t pending_of(uint64_t state) { return state & kMaxArrivals; }

}  // namespace mbarrier
}  // namespace vgpu
