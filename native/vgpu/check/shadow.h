#pragma once
// Shadow memory for the checks: which bytes have been written, and which agents accessed each 16 bytes.
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "check/clock.h"

namespace vgpu {

// The origin of an access: the warp itself, a copy that it issued (cp.async), or the asynchronous proxy (bulk copies,
// wgmma), which sees the results of ordinary accesses only after a fence.proxy.async.
enum class By : uint8_t { warp, copy, async_proxy };

struct Event {
  Agent agent;
  uint32_t time;
  uint32_t instruction;  // see kRoutineShift in monitor.cc
  uint16_t bytes;        // mask of the cell's 16 bytes
  uint8_t lane;
  By by : 4;
  bool atomic : 4;
};

// The reads or the writes of a cell. The first few are stored in the cell, the others in the Shadow's pool. Events
// beyond kMaxEvents are dropped; only data that every warp reads has that many.
using EventPool = std::vector<std::vector<Event>>;

template <uint32_t kInline>
class Events {
 public:
  uint32_t count() const { return count_; }
  const Event* last() const { return count_ - 1u < kInline ? &inline_[count_ - 1] : nullptr; }
  void clear() { count_ = 0; }
  template <class F>
  void each(const EventPool& pool, F&& fn) const {
    for (uint32_t i = 0; i < std::min<uint32_t>(count_, kInline); i++) fn(inline_[i]);
    for (uint32_t i = kInline; i < count_; i++) fn(pool[overflow_][i - kInline]);
  }
  // Adds an event. When the inline slots are full, it first removes the new event's bytes from the events for which
  // covered(event) is true.
  template <class F>
  void add(EventPool& pool, const Event& now, F&& covered) {
    if (count_ >= kInline) remove(pool, now.bytes, covered);
    if (count_ >= kInline) {
      if (count_ == kMaxEvents) return;
      make_room(pool, count_ - kInline);
    }
    at(pool, count_++) = now;
  }
  // Removes the bytes from the events for which which(event) is true, and the events that then have none.
  template <class F>
  void remove(EventPool& pool, uint16_t bytes, F&& which) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < count_; i++) {
      Event e = at(pool, i);
      if (which(e)) e.bytes &= static_cast<uint16_t>(~bytes);
      if (e.bytes) at(pool, count++) = e;
    }
    count_ = count & 0xff;
  }

 private:
  static constexpr uint32_t kMaxEvents = 64;
  Event& at(EventPool& pool, uint32_t i) { return i < kInline ? inline_[i] : pool[overflow_][i - kInline]; }
  void make_room(EventPool& pool, uint32_t i) {
    if (overflow_ == 0) {
      if (pool.empty()) pool.emplace_back();  // number 0 means no overflow
      pool.emplace_back();
      overflow_ = (static_cast<uint32_t>(pool.size()) - 1) & 0xffffff;
    }
    if (pool[overflow_].size() <= i) pool[overflow_].resize(i + 1);
  }

  uint32_t overflow_ : 24;
  uint32_t count_ : 8;
  Event inline_[kInline];
};

struct alignas(64) Cell {  // two cache lines, of which accesses usually need only the first
  uint32_t launch;         // events of earlier launches are stale
  Events<1> writes;
  Events<6> reads;
};
static_assert(sizeof(Cell) == 128);

// Zero-initialised: nothing is written and there are no events. Untouched pages cost no memory.
class Shadow {
 public:
  explicit Shadow(uint64_t bytes)
      : written_bytes_((bytes + 15) / 16 * 2 + 8),
        cells_count_((bytes + 15) / 16 + 1),
        written_(map<uint8_t>(written_bytes_)),
        cells_(map<Cell>(cells_count_)) {}
  ~Shadow() {
    munmap(written_, written_bytes_);
    munmap(cells_, cells_count_ * sizeof(Cell));
  }
  Shadow(const Shadow&) = delete;

  // True if all of the 1, 2, 4, 8 or 16 aligned bytes have been written.
  bool written(uint64_t offset, unsigned bytes) const {
    const auto bits = static_cast<uint16_t>((1u << bytes) - 1);
    if (bytes <= 8) return (written_[offset / 8] >> offset % 8 & bits) == bits;
    uint16_t word;
    std::memcpy(&word, written_ + offset / 8, 2);
    return word == 0xffff;
  }
  void set_written(uint64_t offset, uint64_t bytes) {
    if (bytes == 16 && offset % 16 == 0) {
      std::memset(written_ + offset / 8, 0xff, 2);
      return;
    }
    for (uint64_t at = offset; at < offset + bytes;) {
      const uint64_t in = at % 8, n = std::min<uint64_t>(8 - in, offset + bytes - at);
      const auto bits = static_cast<uint8_t>(((1u << n) - 1) << in);
      uint8_t& byte = written_[at / 8];
      // Several host threads may set bits of the same byte; storing a whole byte is safe.
      if (bits == 0xff)
        byte = 0xff;
      else if ((byte & bits) != bits)
        std::atomic_ref(byte).fetch_or(bits, std::memory_order_relaxed);
      at += n;
    }
  }
  Cell& cell(uint64_t offset) { return cells_[offset / 16]; }

  std::mutex mutex;  // protects the cells when several host threads share them
  EventPool pool;

 private:
  template <class T>
  static T* map(uint64_t count) {
    void* p =
        mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    return static_cast<T*>(p);
  }

  uint64_t written_bytes_, cells_count_;
  uint8_t* written_;
  Cell* cells_;
};

}  // namespace vgpu
