#include "machine/mbarrier.h"

#include <cstring>
#include <string>

#include "machine/block.h"

namespace vgpu::mbarrier {
namespace {

constexpr uint64_t kMark = uint64_t{1} << 61, kMarkMask = uint64_t{3} << 61, kPhase = uint64_t{1} << 63;

[[noreturn]] void misuse(Warp& w, int lane, std::string message) {
  w.fault_lane = lane;
  throw DeviceFault{{FaultKind::illegal_instruction, "synccheck", "mbarrier: " + std::move(message), {}}};
}

struct Object {
  uint32_t pending, expected;
  int32_t bytes;
  bool phase;

  static Object load(Warp& w, int lane, const std::byte* at) {
    uint64_t bits;
    std::memcpy(&bits, at, 8);
    if ((bits & kMarkMask) != kMark)
      misuse(w, lane, "no object at this address: it was never initialised, or was overwritten or invalidated");
    return {static_cast<uint32_t>(bits & kMaxArrivals), static_cast<uint32_t>(bits >> 20 & kMaxArrivals),
            static_cast<int32_t>(static_cast<int64_t>(bits << 3) >> 43), (bits & kPhase) != 0};
  }
  uint64_t bits() const {
    return pending | uint64_t{expected} << 20 | (static_cast<uint64_t>(bytes) & 0x1fffff) << 40 | kMark |
           (phase ? kPhase : 0);
  }
  void store(std::byte* at) {
    if (pending == 0 && bytes == 0) {
      phase = !phase;
      pending = expected;
    }
    const uint64_t word = bits();
    std::memcpy(at, &word, 8);
  }
};

}  // namespace

void init(Warp& w, int lane, std::byte* at, uint32_t count) {
  if (count == 0 || count > kMaxArrivals)
    misuse(w, lane, "count " + std::to_string(count) + " is not in the range from 1 to 2^20 - 1");
  Object{count, count, 0, false}.store(at);
}

void invalidate(Warp& w, int lane, std::byte* at) {
  Object::load(w, lane, at);
  std::memset(at, 0xff, 8);
}

uint64_t arrive(Warp& w, int lane, std::byte* at, uint32_t count, uint8_t how) {
  Object o = Object::load(w, lane, at);
  const uint64_t before = o.bits();
  if (count == 0 || count > o.pending)
    misuse(w, lane,
           std::to_string(count) + " arrivals, but only " + std::to_string(o.pending) + " of " +
               std::to_string(o.expected) + " are pending");
  if (how & kDrop) o.expected -= count;
  o.pending -= count;
  if (how & kIncomplete && o.pending == 0) misuse(w, lane, "an arrival with .noComplete completes the phase");
  o.store(at);
  return before;
}

void increase_pending(Warp& w, int lane, std::byte* at) {
  Object o = Object::load(w, lane, at);
  if (o.pending == kMaxArrivals) misuse(w, lane, "more than 2^20 - 1 arrivals are pending");
  o.pending++;
  o.store(at);
}

void transfer(Warp& w, int lane, std::byte* at, int64_t bytes) {
  Object o = Object::load(w, lane, at);
  const int64_t sum = o.bytes + bytes;
  if (sum > kMaxBytes || sum < -kMaxBytes) misuse(w, lane, "the byte count exceeds its range of 2^20 - 1");
  o.bytes = static_cast<int32_t>(sum);
  o.store(at);
}

bool completed(Warp& w, int lane, std::byte* at, bool parity) { return Object::load(w, lane, at).phase != parity; }

}  // namespace vgpu::mbarrier
