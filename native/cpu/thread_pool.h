#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace caracal {

// Threads that process numbered items together with the caller, who is worker 0. Workers take items as they become free,
// so an operation's arithmetic must not depend on which worker computes an item. By hand, since it must hand out rounds
// within microseconds and end with its device.
class ThreadPool {
 public:
  // @throws OUT_OF_MEMORY if the system refuses some of the threads; those already started are ended
  explicit ThreadPool(int threads);
  ~ThreadPool() { stop(); }
  ThreadPool(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(helpers_.size()) + 1; }

  using Body = void (*)(void* context, int64_t item, int worker);
  // Calls body for every item in [0, items) and returns when all are done. Rethrows the first exception.
  void run(int64_t items, Body body, void* context);
  // Ends the threads. Later items run on the caller. Must not be called during run().
  void stop();

 private:
  void helper_loop(int worker);
  void work(int worker);

  std::vector<std::thread> helpers_;
  std::atomic<uint32_t> generation_{0};  // incremented to start a round
  // A helper enters a round by incrementing `inside_` and then checks whether the round is `open_`. The caller closes the
  // round and waits for the helpers inside. So a round ends with its items, without waiting for helpers that wake up late.
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

// The number of threads that this process may use: the smaller of its CPU affinity and its cgroup's CPU quota.
int available_threads();

}  // namespace caracal
