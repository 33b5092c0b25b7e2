#include "machine/global_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>

namespace vgpu {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kGap = 4096;  // between allocations, so that overruns are detected

uint64_t up(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

std::string hex(uint64_t value) {
  char text[20];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

}  // namespace

Memory::~Memory() {
  for (auto& [address, a] : allocations_)
    if (a->owned && !a->freed) munmap(a->host, up(std::max<uint64_t>(a->size, 1), kPage));
}

const Allocation* Memory::allocate(uint64_t size, uint64_t alignment, std::string name, bool constant) {
  std::unique_lock lock(mutex_);
  if (size > capacity_ - used_) return nullptr;
  void* host = mmap(nullptr, up(std::max<uint64_t>(size, 1), kPage), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (host == MAP_FAILED) return nullptr;
  next_ = up(next_, std::max<uint64_t>(alignment, 256));
  auto a = std::make_unique<Allocation>(
      Allocation{next_, size, static_cast<std::byte*>(host), std::move(name), true, false, constant});
  if (checked) a->shadow = std::make_unique<Shadow>(size);
  next_ += size + kGap;
  used_ += size;
  const Allocation* result = a.get();
  allocations_[a->address] = std::move(a);
  return result;
}

const Allocation* Memory::share(void* host, uint64_t size) {
  std::unique_lock lock(mutex_);
  const auto address = reinterpret_cast<uint64_t>(host);
  auto a = std::make_unique<Allocation>(Allocation{address, size, static_cast<std::byte*>(host), {}, false});
  if (checked) {
    a->shadow = std::make_unique<Shadow>(size);
    a->shadow->set_written(0, size);  // the host may write at any time
  }
  const Allocation* result = a.get();
  allocations_[address] = std::move(a);
  generation_++;
  return result;
}

bool Memory::release(uint64_t address) {
  std::unique_lock lock(mutex_);
  const auto found = allocations_.find(address);
  if (found == allocations_.end() || found->second->freed) return false;
  Allocation& a = *found->second;
  generation_++;
  if (!a.owned) {
    allocations_.erase(found);
    return true;
  }
  munmap(a.host, up(std::max<uint64_t>(a.size, 1), kPage));
  a.host = nullptr;
  a.shadow = nullptr;
  a.freed = true;
  used_ -= a.size;
  freed_.push_back(address);
  if (freed_.size() > kMaxFreed) {
    allocations_.erase(freed_.front());
    freed_.pop_front();
  }
  return true;
}

const Allocation* Memory::find_locked(uint64_t address) const {
  auto next = allocations_.upper_bound(address);
  if (next == allocations_.begin()) return nullptr;
  const Allocation* a = std::prev(next)->second.get();
  return address - a->address < a->size ? a : nullptr;
}

void Memory::written(uint64_t address, uint64_t bytes) {
  std::shared_lock lock(mutex_);
  const Allocation* a = find_locked(address);
  if (a && a->shadow) a->shadow->set_written(address - a->address, std::min(bytes, a->size - (address - a->address)));
}

const Allocation* Memory::find_own(uint64_t address) const {
  std::shared_lock lock(mutex_);
  return find_locked(address);
}

const Allocation* Memory::find(uint64_t address) const {
  if (const Allocation* a = find_own(address)) return a;
  if (linked_count_.load(std::memory_order_acquire) == 0) return nullptr;
  for (const auto& b : linked_)
    if (const Memory* m = b.load(std::memory_order_acquire))
      if (const Allocation* a = m->find_own(address)) return a;
  return nullptr;
}

void Memory::link(const Memory& other) {
  for (auto& b : linked_) {
    if (b.load() != nullptr) continue;
    b.store(&other);
    linked_count_++;
    generation_++;
    return;
  }
}

void Memory::unlink(const Memory& other) {
  for (auto& b : linked_) {
    if (b.load() != &other) continue;
    // The sum of generations must never return to an earlier value.
    generation_ += other.generation_ + 1;
    b.store(nullptr);
    linked_count_--;
    return;
  }
}

std::string Memory::describe(uint64_t address) const {
  std::shared_lock lock(mutex_);
  auto named = [](const Allocation& a) {
    return (a.freed ? "a freed allocation of " : "an allocation of ") + std::to_string(a.size) + " bytes at " +
           hex(a.address) + (a.name.empty() ? "" : " (" + a.name + ")");
  };
  if (const Allocation* inside = find_locked(address))
    return std::to_string(address - inside->address) + " bytes into " + named(*inside);
  auto next = allocations_.upper_bound(address);
  std::string text = "outside every allocation";
  if (next != allocations_.begin()) {
    const Allocation& before = *std::prev(next)->second;
    const uint64_t past = address - before.address - before.size;
    if (past < (1 << 20)) return text + ", " + std::to_string(past) + " bytes past " + named(before);
  }
  if (next != allocations_.end() && next->second->address - address < (1 << 20))
    return text + ", " + std::to_string(next->second->address - address) + " bytes before " + named(*next->second);
  if (address < 4096)
    text += " (a null pointer)";
  else if (address < base_ || address >> 40 >= 0x55)
    text += " (not a device address: a host pointer?)";
  return text;
}

}  // namespace vgpu
