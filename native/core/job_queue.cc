#include "core/job_queue.h"

#include <system_error>

#include "core/error.h"

namespace caracal {

JobQueue::JobQueue(std::function<void()> prepare, std::function<void()> conclude) {
  try {
    thread_ = std::thread([state = state_, prepare = std::move(prepare), conclude = std::move(conclude)] {
      prepare();
      state->loop(conclude);
    });
  } catch (const std::system_error& e) {
    throw Error(code::kOutOfMemory, std::string("the system refused a thread for the device's queue (") + e.what() +
                                        "): close other devices, or raise the limit of threads or memory");
  }
}

void JobQueue::submit(Jobs jobs) {
  {
    std::lock_guard lock(state_->mutex);
    if (state_->stopped) throw Error(code::kDisposed, "the device was disposed: open another with Device.open()");
    state_->jobs.splice(state_->jobs.end(), jobs);
  }
  state_->wake.notify_one();
}

void JobQueue::refuse() noexcept {
  std::lock_guard lock(state_->mutex);
  state_->stopped = true;
}

void JobQueue::stop() noexcept {
  Jobs dropped;  // destroyed after the lock: a job may hold the last handle of a tensor
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

void JobQueue::State::loop(const std::function<void()>& conclude) noexcept {
  for (;;) {
    Jobs job;
    {
      std::unique_lock lock(mutex);
      wake.wait(lock, [this] { return stopped || !jobs.empty(); });
      if (stopped) return;
      job.splice(job.end(), jobs, jobs.begin());
    }
    job.front()();
    conclude();
  }
}

}  // namespace caracal
