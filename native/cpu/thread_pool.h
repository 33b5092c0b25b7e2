#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace caracal {

// Threads that share out numbered items. The caller is worker 0. Items are handed out dynamically, so an operation's
// arithmetic must not depend on who computes an item.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool() { stop(); }
  ThreadPool(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(helpers_.size()) + 1; }

  using Body = void (*)(void* context, int64_t item, int worker);
  // Calls body for every item in [0, items); returns when all are done; rethrows the first exception.
  void run(int64_t items, Body body, void* context);
  // Ends the threads; whatever is run afterwards runs on the caller. Not while a round is on.
  void stop();

 private:
  void helper_loop(int worker);
  void work(int worker);

  std::vector<std::thread> helpers_;
  std::atomic<uint32_t> generation_{0};  // bumped to start a round
  // A helper enters a round by raising `inside_`, then looks whether the round is `open_`; the caller closes it and
  // waits for those inside. So a round is over when its items are, and nobody waits for a helper that wakes up late.
  std::atomic<bool> open_{false};
  std::atomic<int> inside_{0};
  std::atomic<int64_t> next_{0};
  std::atomic<bool> stop_{false};
  int64_t items_ = 0;
  Body body_ = nullptr;
  void* context_ = nullptr;
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

// Threads this process may use: the smaller of its CPU affinity and its cgroup's CPU quota.
int available_threads();

}  // namespace caracal
