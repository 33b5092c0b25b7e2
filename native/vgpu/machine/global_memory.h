#pragma once
// The global memory of a device. Addresses are the device's own: no host pointer is one, and none is used twice, so
// that a host pointer passed by mistake and memory that was freed are always noticed.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>

#include "check/shadow.h"

namespace vgpu {

struct Allocation {
  uint64_t address, size;
  std::byte* host;
  std::string name;    // of a module's variable
  bool owned;          // false: host memory that the device may use at the same address
  bool freed = false;  // kept for reports; its host memory is gone
  bool constant = false;
  std::unique_ptr<Shadow> shadow = nullptr;  // where the memory is checked
};

class Memory {
 public:
  Memory(uint64_t base, uint64_t capacity) : next_(base), base_(base), capacity_(capacity) {}
  ~Memory();
  Memory(const Memory&) = delete;

  // Null when the device's memory is used up. At least 256-byte aligned.
  const Allocation* allocate(uint64_t size, uint64_t alignment, std::string name = {}, bool constant = false);
  // Memory of the host, usable by the device under its own address.
  const Allocation* share(void* host, uint64_t size);
  // False if no allocation begins there.
  bool release(uint64_t address);

  // The allocation that covers an address, freed ones included; else null.
  const Allocation* find(uint64_t address) const;
  // Changes whenever an allocation goes away, here or in memory that is looked at too.
  uint64_t generation() const {
    uint64_t sum = generation_.load(std::memory_order_acquire);
    if (beyond_count_.load(std::memory_order_acquire) == 0) return sum;
    for (const auto& b : beyond_)
      if (const Memory* m = b.load(std::memory_order_acquire)) sum += m->generation_.load(std::memory_order_acquire);
    return sum;
  }
  // Other memory in which find looks: the host's, that of peers. At most kMostBeyond.
  void look_beyond(const Memory& other);
  void stop_looking(const Memory& other);

  uint64_t capacity() const { return capacity_; }
  uint64_t used() const { return used_; }

  // Below `address` and above it, for reports: "…, 16 bytes behind an allocation of 1024 bytes at 0x…".
  std::string describe(uint64_t address) const;

  // Allocations from now on have shadows.
  bool checked = false;
  // The host has written there.
  void written(uint64_t address, uint64_t bytes);

 private:
  static constexpr size_t kMostBeyond = 17;
  static constexpr size_t kMostFreed = 16384;  // that reports still know

  const Allocation* find_locked(uint64_t address) const;
  const Allocation* find_here(uint64_t address) const;

  mutable std::shared_mutex mutex_;
  std::map<uint64_t, std::unique_ptr<Allocation>> allocations_;  // by address
  uint64_t next_, base_, capacity_;
  uint64_t used_ = 0;
  std::atomic<uint64_t> generation_{1};
  std::deque<uint64_t> freed_;
  std::atomic<const Memory*> beyond_[kMostBeyond] = {};
  std::atomic<uint32_t> beyond_count_{0};
};

}  // namespace vgpu
