#include "cpu/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <string>
#include <utility>

#include "core/error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define CARACAL_PAUSE() _mm_pause()
#else
#define CARACAL_PAUSE() std::this_thread::yield()
#endif

namespace caracal {
namespace {

// Waits until `value` differs from `old`. Spins first, since rounds follow each other within microseconds while a model
// runs, then sleeps, so that an idle pool costs nothing.
template <class T>
void wait_while_equal(const std::atomic<T>& value, T old) {
  using clock = std::chrono::steady_clock;
  const auto deadline = clock::now() + std::chrono::microseconds(50);
  while (value.load(std::memory_order_acquire) == old) {
    for (int i = 0; i < 32; i++) CARACAL_PAUSE();
    if (clock::now() > deadline) {
      value.wait(old, std::memory_order_acquire);
      return;
    }
  }
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  try {
    for (int i = 1; i < threads; i++) helpers_.emplace_back([this, i] { helper_loop(i); });
  } catch (const std::exception& e) {
    const std::string asked = std::to_string(threads), got = std::to_string(helpers_.size() + 1);
    stop();
    throw Error(code::kOutOfMemory,
                "the system gave " + got + " of " + asked + " threads (" + e.what() +
                    "): open the device with fewer threads, or raise the limit of threads (ulimit -u, a cgroup's "
                    "pids.max) or memory",
                {{"argument", "threads"}, {"expected", asked}, {"actual", got}});
  }
}

void ThreadPool::stop() {
  stop_ = true;
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (auto& t : helpers_) t.join();
  helpers_.clear();
}

void ThreadPool::run(int64_t items, Body body, void* context) {
  if (items <= 0) return;
  if (items == 1 || helpers_.empty()) {
    for (int64_t i = 0; i < items; i++) body(context, i, 0);
    return;
  }
  items_ = items;
  body_ = body;
  context_ = context;
  next_.store(0, std::memory_order_relaxed);
  open_.store(true);  // sequentially consistent, like all accesses to open_ and inside_
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  work(0);
  open_.store(false);
  for (int inside = inside_.load(); inside != 0; inside = inside_.load()) wait_while_equal(inside_, inside);
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void ThreadPool::work(int worker) {
  try {
    for (;;) {
      const int64_t item = next_.fetch_add(1, std::memory_order_relaxed);
      if (item >= items_) return;
      body_(context_, item, worker);
    }
  } catch (...) {
    next_.store(items_, std::memory_order_relaxed);
    std::lock_guard lock(error_mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

void ThreadPool::helper_loop(int worker) {
  uint32_t seen = 0;
  for (;;) {
    wait_while_equal(generation_, seen);
    if (stop_) return;
    const uint32_t now = generation_.load(std::memory_order_acquire);
    if (now == seen) continue;
    seen = now;
    inside_.fetch_add(1);
    if (open_.load()) work(worker);
    if (inside_.fetch_sub(1) == 1) inside_.notify_all();
  }
}

int available_threads() {
  cpu_set_t set;
  int threads = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                            : static_cast<int>(std::thread::hardware_concurrency());
  std::ifstream quota_file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (quota_file >> quota >> period && quota != "max" && period > 0)
    threads = std::min(threads, static_cast<int>(std::ceil(std::stod(quota) / period)));
  return std::max(threads, 1);
}

}  // namespace caracal
