#pragma once
#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>

namespace caracal {

// Closures for a queue. A list, since it takes memory only when a job is put into it: one that is made in advance can be
// submitted, and a queue stopped, when there is no memory left.
using Jobs = std::list<std::function<void()>>;

// Runs jobs in order on a thread of its own.
class JobQueue {
 public:
  // On the queue's thread, `prepare` runs before the first job and `conclude` after each. They and the jobs may not
  // throw. @throws OUT_OF_MEMORY if the system refuses the thread
  explicit JobQueue(std::function<void()> prepare = [] {}, std::function<void()> conclude = [] {});
  ~JobQueue() { stop(); }
  JobQueue(const JobQueue&) = delete;

  void submit(Jobs jobs);  // throws Error(DISPOSED) after stop()
  // No job begins afterwards; submit() throws. Those that have not begun are kept until stop().
  void refuse() noexcept;
  // Drops the jobs that have not begun, and waits for the running one unless it is the caller.
  void stop() noexcept;

 private:
  // Shared, because a job may destroy the queue that runs it.
  struct State {
    std::mutex mutex;
    std::condition_variable wake;
    Jobs jobs;
    bool stopped = false;
    void loop(const std::function<void()>& conclude) noexcept;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
  std::thread thread_;
};

}  // namespace caracal
