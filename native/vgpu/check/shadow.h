#pragma once
// What the checks know about memory: of every byte whether somebody wrote it, and of every 16 bytes who accessed them.
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

// By whom an access is: the warp itself, a copy that it has issued (cp.async), or one of the asynchronous proxy (bulk
// copies, wgmma), which sees what ordinary accesses have written only after a fence.proxy.async.
enum class By : uint8_t { warp, copy, async_proxy };

struct Event {
  Agent agent;
  uint32_t time;
  uint32_t instruction;  // see Monitor
  uint16_t bytes;        // which of the sixteen
  uint8_t lane;
  By by : 4;
  bool atomic : 4;
};

// The writes, or the reads, of a cell. A few stand in the cell itself; the Shadow's pool holds the rest. Beyond a
// number that only data which everybody reads comes to, further ones are not recorded.
using EventPool = std::vector<std::vector<Event>>;

template <uint32_t kFew>
class Events {
 public:
  uint32_t count() const { return count_; }
  const Event* last() const { return count_ - 1u < kFew ? &few_[count_ - 1] : nullptr; }
  void clear() { count_ = 0; }
  template <class F>
  void each(const EventPool& pool, F&& fn) const {
    for (uint32_t i = 0; i < std::min<uint32_t>(count_, kFew); i++) fn(few_[i]);
    for (uint32_t i = kFew; i < count_; i++) fn(pool[more_][i - kFew]);
  }
  // Adds an event. Where there is little room those go of whose bytes nothing is left without its own: covered(event)
  // says whether they may.
  template <class F>
  void add(EventPool& pool, const Event& now, F&& covered) {
    if (count_ >= kFew) remove(pool, now.bytes, covered);
    if (count_ >= kFew) {
      if (count_ == kMost) return;
      make_room(pool, count_ - kFew);
    }
    at(pool, count_++) = now;
  }
  // Takes the bytes out of the events of which which(event) is true.
  template <class F>
  void remove(EventPool& pool, uint16_t bytes, F&& which) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count_; i++) {
      Event e = at(pool, i);
      if (which(e)) e.bytes &= static_cast<uint16_t>(~bytes);
      if (e.bytes) at(pool, kept++) = e;
    }
    count_ = kept & 0xff;
  }

 private:
  static constexpr uint32_t kMost = 64;
  Event& at(EventPool& pool, uint32_t i) { return i < kFew ? few_[i] : pool[more_][i - kFew]; }
  void make_room(EventPool& pool, uint32_t i) {
    if (more_ == 0) {
      if (pool.empty()) pool.emplace_back();  // number 0 is none
      pool.emplace_back();
      more_ = (static_cast<uint32_t>(pool.size()) - 1) & 0xffffff;
    }
    if (pool[more_].size() <= i) pool[more_].resize(i + 1);
  }

  uint32_t more_ : 24;
  uint32_t count_ : 8;
  Event few_[kFew];
};

struct alignas(64) Cell {  // two lines of the cache; most often the first is enough
  uint32_t launch;         // events of earlier launches are over
  Events<1> writes;
  Events<6> reads;
};
static_assert(sizeof(Cell) == 128);

// All zero at first: nothing written, no events. Pages that nobody touches cost nothing.
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

  // Whether all of 1, 2, 4, 8 or 16 bytes, aligned, have been written.
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
      // Several host threads may come here; whole bytes need no care.
      if (bits == 0xff)
        byte = 0xff;
      else if ((byte & bits) != bits)
        std::atomic_ref(byte).fetch_or(bits, std::memory_order_relaxed);
      at += n;
    }
  }
  Cell& cell(uint64_t offset) { return cells_[offset / 16]; }

  std::mutex mutex;  // of cells, where several host threads come
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
