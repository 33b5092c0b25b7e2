#pragma once
// The global memory of a device. Its addresses differ from all host pointers and are never reused, so a host pointer
// passed by mistake and an access to freed memory are always detected.
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
  std::string name;    // the module's variable
  bool owned;          // false: host memory that the device uses at the same address
  bool freed = false;  // kept for reports; the host memory has been released
  bool constant = false;
  std::unique_ptr<Shadow> shadow = nullptr;  // null unless the memory is checked
};

class Memory {
 public:
  Memory(uint64_t base, uint64_t capacity) : next_(base), base_(base), capacity_(capacity) {}
  ~Memory();
  Memory(const Memory&) = delete;

  // Returns null if the device is out of memory. Allocations are at least 256-byte aligned.
  const Allocation* allocate(uint64_t size, uint64_t alignment, std::string name = {}, bool constant = false);
  // Makes host memory accessible to the device at its host address.
  const Allocation* share(void* host, uint64_t size);
  // Returns false if no allocation begins at the address.
  bool release(uint64_t address);

  // The allocation that contains an address, freed ones included; null if there is none.
  const Allocation* find(uint64_t address) const;
  // Changes whenever an allocation is removed, here or in linked memory.
  uint64_t generation() const {
    uint64_t sum = generation_.load(std::memory_order_acquire);
    if (linked_count_.load(std::memory_order_acquire) == 0) return sum;
    for (const auto& b : linked_)
      if (const Memory* m = b.load(std::memory_order_acquire)) sum += m->generation_.load(std::memory_order_acquire);
    return sum;
  }
  // Other memory that find also searches: the host's and that of peers. At most kMaxLinked.
  void link(const Memory& other);
  void unlink(const Memory& other);

  uint64_t capacity() const { return capacity_; }
  uint64_t used() const { return used_; }

  // Describes an address by its neighbours, for reports: "…, 16 bytes past an allocation of 1024 bytes at 0x…".
  std::string describe(uint64_t address) const;

  // Gives shadows to all later allocations.
  bool checked = false;
  // Notes that the host has written the bytes.
  void written(uint64_t address, uint64_t bytes);

 private:
  static constexpr size_t kMaxLinked = 17;
  static constexpr size_t kMaxFreed = 16384;  // kept for reports

  const Allocation* find_locked(uint64_t address) const;
  const Allocation* find_own(uint64_t address) const;

  mutable std::shared_mutex mutex_;
  std::map<uint64_t, std::unique_ptr<Allocation>> allocations_;  // by address
  uint64_t next_, base_, capacity_;
  uint64_t used_ = 0;
  std::atomic<uint64_t> generation_{1};
  std::deque<uint64_t> freed_;
  std::atomic<const Memory*> linked_[kMaxLinked] = {};
  std::atomic<uint32_t> linked_count_{0};
};

}  // namespace vgpu
