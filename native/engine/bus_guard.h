#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace caracal {

// Lets the process survive reads of a mapped file whose pages the system can no longer provide: because the file was cut
// short, or because its disk fails. Such a read raises SIGBUS. While there are guards, a handler for that signal puts
// zeros in the place of the page and of all that follow it, notes that in the guard, and lets the read go on. Whoever
// reads the range must ask lost() afterwards. A SIGBUS at any other address goes to the handler that was there before.
//
// A process has one handler of a signal. Whoever sets another takes ours away, as Node.js does for `process.on("SIGBUS")`
// and once more when the listener is removed. So it is put back with each guard, and by restore() before each use.
class BusGuard {
 public:
  BusGuard(const std::byte* begin, size_t bytes);
  ~BusGuard();  // before the range is unmapped
  BusGuard(const BusGuard&) = delete;

  static void restore() noexcept;

  bool lost() const { return range_->lost.load(std::memory_order_relaxed); }

  // The handler reads the ranges at any time, so they are never freed, only used again.
  struct Range {
    std::atomic<uintptr_t> begin{0}, end{0};
    std::atomic<bool> lost{false};
    bool used = false;
    Range* next = nullptr;
  };

 private:
  Range* range_;
};

}  // namespace caracal
