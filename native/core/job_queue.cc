#include "core/job_queue.h"

#include <system_error>

#include "core/error.h"

namespace caracal {

JobQueue::JobQueue(std::function<void()> prepare) {
  try {
    thread_ = std::thread([state = state_, prepare = std::move(prepare)] {
      prepare();
      state->loop();
    });
  } catch (const std::system_error& e) {
    throw Error(code::kOutOfMemory, std::string("the system refused a thread for the device's queue (") + e.what() +
                                        "): close other devices, or raise the limit of threads or memory");
  }
}

void JobQueue::submit(std::function<void()> job) {
  {
    std::lock_guard lock(state_->mutex);
    if (state_->stopped) throw Error(code::kDisposed, "the device was disposed: open another with Device.open()");
    state_->jobs.push_back(std::move(job));
  }
  state_->wake.notify_one();
}

void JobQueue::refuse() noexcept {
  std::lock_guard lock(state_->mutex);
  state_->stopped = true;
}

void JobQueue::stop() {
  std::deque<std::function<void()>> dropped;  // destroyed after the lock: a job may hold the last handle of a tensor
  {
    std::lock_guard lock(state_->mutex);
    state_->stopped = true;
    dropped.swap(state_->jobs);
  }
  state_->wake.notify_one();
  if (!thread_.joinable()) return;
  if (thread_.get_id() == std::this_thread::get_id())
    thread_.detach();
  else
    thread_.join();
}

void JobQueue::State::loop() {
  for (;;) {
    std::function<void()> job;
    {
      std::unique_lock lock(mutex);
      wake.wait(lock, [this] { return stopped || !jobs.empty(); });
      if (stopped) return;
      job = std::move(jobs.front());
      jobs.pop_front();
    }
    job();
  }
}

}  // namespace caracal
