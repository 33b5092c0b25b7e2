#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace caracal {

// Jobs, run in order on a thread of the queue's own.
class JobQueue {
 public:
  // `prepare` runs first, on the queue's thread.
  explicit JobQueue(std::function<void()> prepare = [] {});
  ~JobQueue() { stop(); }
  JobQueue(const JobQueue&) = delete;

  void submit(std::function<void()> job);  // throws Error(DISPOSED) after stop()
  // Drops the jobs that have not begun and waits for the one that has, unless that is who calls.
  void stop();

 private:
  // Outlives the queue when a job's last act is to drop it.
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
