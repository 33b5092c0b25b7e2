#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace caracal {

// Runs jobs in order on a thread of its own.
class JobQueue {
 public:
  // `prepare` runs before the first job, on the queue's thread. Neither it nor a job may throw.
  // @throws OUT_OF_MEMORY if the system refuses the thread
  explicit JobQueue(std::function<void()> prepare = [] {});
  ~JobQueue() { stop(); }
  JobQueue(const JobQueue&) = delete;

  void submit(std::function<void()> job);  // throws Error(DISPOSED) after stop()
  // No job begins afterwards; submit() throws. Those that have not begun are kept until stop().
  void refuse() noexcept;
  // Drops the jobs that have not begun, and waits for the running one unless it is the caller.
  void stop();

 private:
  // Shared, because a job may destroy the queue that runs it.
  struct State {
    std::mutex mutex;
    std::condition_variable wake;
    std::deque<std::function<void()>> jobs;
    bool stopped = false;
    void loop();
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
  std::thread thread_;
};

}  // namespace caracal
