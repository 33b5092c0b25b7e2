#include "machine/address.h"

#include <cstdio>

#include "check/monitor.h"
#include "count/counters.h"
#include "machine/block.h"
#include "program/decoding.h"

namespace vgpu {
namespace {

std::string hex(uint64_t value) {
  char text[20];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

const char* verb(Access access) {
  switch (access) {
    case Access::read:
    case Access::ordered_read: return "read";
    case Access::write:
    case Access::ordered_write: return "write";
    case Access::atomic: break;
  }
  return "atomic access";
}

[[noreturn]] void fault(Warp& w, int lane, FaultKind kind, std::string message) {
  w.fault_lane = lane;
  throw DeviceFault{{kind, "memcheck", std::move(message), {}}};
}

std::string access_text(Space space, Access access, uint64_t bytes, uint64_t address) {
  static const char* const names[] = {"generic", "global", "shared", "local", "param", "constant"};
  return std::string(names[static_cast<int>(space)]) + " " + verb(access) + " of " + std::to_string(bytes) +
         " bytes at " + hex(address);
}

bool only_reads(Access access) { return access == Access::read || access == Access::ordered_read; }

// The cached allocation that contains the whole range; null if there is none.
Warp::Window* window_around(Warp& w, uint64_t address, uint64_t bytes) {
  Memory& memory = w.block.launch.memory;
  if (const uint64_t generation = memory.generation(); w.windows_generation != generation) {
    for (auto& window : w.windows) window = {};
    w.windows_generation = generation;
  }
  for (auto& window : w.windows)
    if (address >= window.begin && address < window.end && bytes <= window.end - address) return &window;
  const Allocation* a = memory.find(address);
  if (!a || a->freed || bytes > a->address + a->size - address) return nullptr;
  Warp::Window& window = w.windows[w.next_window++ % 4];
  window = {a->address, a->address + a->size, a->host, a->constant, a->shadow.get()};
  return &window;
}

// Reports an access to the checks, if any are on.
void watch(Warp& w, Space space, Shadow* shadow, const uint64_t (&offset)[kLanes], uint64_t bytes, Access access,
           uint32_t mask, By by) {
  Monitor* monitor = w.block.launch.monitor.get();
  if (monitor && shadow) monitor->access(w, space, *shadow, offset, static_cast<unsigned>(bytes), access, mask, by);
}

void watch_one(Warp& w, Space space, Shadow* shadow, uint64_t at, uint64_t bytes, Access access, int lane, By by) {
  if (!shadow) return;
  uint64_t offset[kLanes];
  offset[lane] = at;
  watch(w, space, shadow, offset, bytes, access, 1u << lane, by);
}

// If the access begins inside an allocation, its end is what is out of bounds.
[[noreturn]] void fault_global(Warp& w, uint64_t address, uint64_t bytes, Access access, int lane) {
  const Memory& memory = w.block.launch.memory;
  const Allocation* a = memory.find(address);
  const uint64_t wrong = a && !a->freed ? address + bytes - 1 : address;
  fault(w, lane, FaultKind::illegal_address,
        access_text(Space::global, access, bytes, address) + ": " + memory.describe(wrong));
}

std::byte* global(Warp& w, uint64_t address, uint64_t bytes, Access access, int lane, By by) {
  Warp::Window* window = window_around(w, address, bytes);
  if (!window) fault_global(w, address, bytes, access, lane);
  if (window->constant && !only_reads(access))
    fault(w, lane, FaultKind::illegal_address,
          access_text(Space::global, access, bytes, address) + ": constant memory is read-only");
  watch_one(w, Space::global, window->shadow, address - window->begin, bytes, access, lane, by);
  return window->host + (address - window->begin);
}

std::byte* shared(Warp& w, uint64_t address, uint64_t bytes, Access access, int lane, By by) {
  Block* block = &w.block;
  uint64_t offset = address;
  if (address >> kRankShift != 0) {
    const uint64_t rank = (address >> kRankShift) - 1;
    offset = address & ((uint64_t{1} << kRankShift) - 1);
    if (rank >= block->cluster.blocks.size())
      fault(w, lane, FaultKind::illegal_address,
            access_text(Space::shared, access, bytes, address) + ": the cluster has no such block");
    block = block->cluster.blocks[rank].get();
  }
  if (offset > block->shared_bytes || bytes > block->shared_bytes - offset)
    fault(w, lane, FaultKind::illegal_address,
          access_text(Space::shared, access, bytes, address) + ": the block has " +
              std::to_string(block->shared_bytes) + " bytes");
  watch_one(w, Space::shared, block->shadow.get(), offset, bytes, access, lane, by);
  return block->shared.data() + offset;
}

std::byte* local(Warp& w, uint64_t address, uint64_t bytes, Access access, int lane) {
  if (address > w.local_size() || bytes > w.local_size() - address)
    fault(w, lane, FaultKind::illegal_address,
          access_text(Space::local, access, bytes, address) + ": outside the thread's local memory");
  return w.local(lane, address);
}

std::byte* parameter(Warp& w, uint64_t address, uint64_t bytes, Access access, int lane) {
  auto& parameters = w.block.launch.parameters;
  if (!only_reads(access) || address > parameters.size() || bytes > parameters.size() - address)
    fault(w, lane, FaultKind::illegal_address,
          access_text(Space::param, access, bytes, address) + ": the kernel has " + std::to_string(parameters.size()) +
              " bytes of parameters, which are read-only");
  return parameters.data() + address;
}

}  // namespace

namespace {

// Counts a request. A generic one is counted under the space of each lane's address.
void count(Warp& w, OpCounts& counts, Space space, const uint64_t (&address)[kLanes], unsigned bytes, Access access,
           uint32_t mask) {
  uint32_t shared = space == Space::shared ? mask : 0, global = space == Space::global ? mask : 0;
  if (space == Space::generic)
    for (uint32_t left = mask; left; left &= left - 1) {
      const uint64_t window = address[__builtin_ctz(left)] & ~(kWindowBytes - 1);
      if (window == kSharedWindow)
        shared |= left & -left;
      else if (window != kLocalWindow && window != kParamWindow)
        global |= left & -left;
    }
  if (shared) count_shared(counts, address, bytes, shared);
  if (!global) return;
  Counters& all = *w.block.cluster.counters;
  const bool reads = only_reads(access), writes = !reads && access != Access::atomic;
  count_global(counts, address, bytes, global, writes ? nullptr : &all.loaded, reads ? nullptr : &all.stored);
}

}  // namespace

void addresses_of(Warp& w, const Op& op, uint64_t (&out)[kLanes]) {
  const auto offset = static_cast<uint64_t>(op.imm);
  if (op.flags & Decoding::kBase32) {
    const uint32_t* base = w.lanes<const uint32_t>(op.a);
    for (int l = 0; l < kLanes; l++) out[l] = static_cast<uint32_t>(base[l] + offset);
  } else {
    const uint64_t* base = w.lanes<const uint64_t>(op.a);
    for (int l = 0; l < kLanes; l++) out[l] = base[l] + offset;
  }
}

std::byte* resolve_one(Warp& w, Space space, uint64_t address, uint64_t bytes, Access access, int lane, By by) {
  if (space == Space::generic) {
    const uint64_t window = address & ~(kWindowBytes - 1);
    space = window == kSharedWindow  ? Space::shared
            : window == kLocalWindow ? Space::local
            : window == kParamWindow ? Space::param
                                     : Space::global;
    if (space != Space::global) address -= window;
  }
  switch (space) {
    case Space::shared: return shared(w, address, bytes, access, lane, by);
    case Space::local: return local(w, address, bytes, access, lane);
    case Space::param: return parameter(w, address, bytes, access, lane);
    default: return global(w, address, bytes, access, lane, by);
  }
}

void resolve(Warp& w, Space space, const uint64_t (&address)[kLanes], unsigned bytes, Access access, uint32_t mask,
             std::byte* (&host)[kLanes], By by) {
  uint64_t combined = 0;
  for (int l = 0; l < kLanes; l++) combined |= mask >> l & 1 ? address[l] : 0;
  if (combined & (bytes - 1)) {
    for (int l = 0; l < kLanes; l++)
      if (mask >> l & 1 && address[l] & (bytes - 1))
        fault(w, l, FaultKind::misaligned_address,
              access_text(space, access, bytes, address[l]) + ": not a multiple of " + std::to_string(bytes));
  }
  if (OpCounts* counts = w.current_counts()) count(w, *counts, space, address, bytes, access, mask);
  const int first = __builtin_ctz(mask);
  if (space == Space::global || space == Space::generic) {
    // Usually all lanes access the same allocation.
    const uint64_t low = address[first];
    if (space == Space::global || low >> 40 == 0 || low >> 40 > 3) {
      if (Warp::Window* window = window_around(w, low, bytes); window && (only_reads(access) || !window->constant)) {
        uint32_t outside = 0;
        const uint64_t begin = window->begin, last = window->end - bytes - begin;
        std::byte* const base = window->host;
        for (int l = 0; l < kLanes; l++) {
          outside |= static_cast<uint32_t>(address[l] - begin > last) << l;
          host[l] = base + (address[l] - begin);
        }
        if ((outside & mask) == 0) {
          if (window->shadow) {
            uint64_t offset[kLanes];
            for (int l = 0; l < kLanes; l++) offset[l] = address[l] - begin;
            watch(w, Space::global, window->shadow, offset, bytes, access, mask, by);
          }
          return;
        }
      }
    }
  } else if (space == Space::shared) {
    const Block& block = w.block;
    if (block.shared_bytes >= bytes) {
      uint32_t outside = 0;
      const uint64_t last = block.shared_bytes - bytes;
      std::byte* const base = w.block.shared.data();
      for (int l = 0; l < kLanes; l++) {
        outside |= static_cast<uint32_t>(address[l] > last) << l;
        host[l] = base + address[l];
      }
      if ((outside & mask) == 0) return watch(w, Space::shared, block.shadow.get(), address, bytes, access, mask, by);
    }
  }
  for (int l = 0; l < kLanes; l++)
    if (mask >> l & 1) host[l] = resolve_one(w, space, address[l], bytes, access, l, by);
}

}  // namespace vgpu
