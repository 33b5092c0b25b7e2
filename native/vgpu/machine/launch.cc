#include "machine/launch.h"

#include <algorithm>
#include <thread>

#include "machine/block.h"

namespace vgpu {
namespace {

constexpr int64_t kTurn = 500'000;      // instructions of a cluster before another one's turn
constexpr size_t kResidentClusters = 64;  // per host thread, unless all must be

}  // namespace

void Launch::fail(Report report) {
  const std::lock_guard lock(mutex_);
  if (!report_) report_ = std::move(report);
  stop.store(true);
}

std::optional<Report> Launch::run() {
  const uint64_t groups = shape.blocks() / shape.cluster_blocks();
  const auto workers = static_cast<int>(std::clamp<uint64_t>(groups, 1, static_cast<uint64_t>(std::max(options.threads, 1))));
  workers_ = workers;
  std::vector<std::thread> helpers;
  for (int i = 1; i < workers; i++) helpers.emplace_back([this] { work(); });
  work();
  for (auto& h : helpers) h.join();
  return report_;
}

// Each host thread runs one cluster after the other. One that does not come to its end stays, and another is begun
// beside it, as on a device, where it may be what the first one waits for.
void Launch::work() {
  const uint64_t groups = shape.blocks() / shape.cluster_blocks();
  std::vector<std::unique_ptr<Cluster>> live;
  auto begin_one = [&] {
    const uint64_t index = next_group_.fetch_add(1);
    if (index >= groups) return false;
    live.push_back(std::make_unique<Cluster>(*this, index));
    return true;
  };
  try {
    if (shape.cooperative)
      while (begin_one()) {
      }
    while (!stop.load(std::memory_order_relaxed)) {
      const uint64_t seen = progress_.load();
      if (live.empty() && !begin_one()) break;
      bool progress = false;
      for (auto& cluster : live) {
        const ClusterState state = cluster->run(kTurn);
        if (state == ClusterState::done) cluster.reset();
        progress = progress || state != ClusterState::waiting;
        if (stop.load(std::memory_order_relaxed)) break;
      }
      const size_t before = live.size();
      std::erase(live, nullptr);
      if (spent.load(std::memory_order_relaxed) > options.instruction_budget) {
        std::string where;
        for (const auto& cluster : live) where += cluster->whereabouts();
        fail({FaultKind::timeout, "", "the budget of " + std::to_string(options.instruction_budget) + " warp instructions is spent; the warps are at:" + where, kernel.name});
        break;
      }
      if (progress) {
        progress_++;
        stuck_.store(0);
      }
      const bool finished_one = live.size() < before;
      if (!finished_one && live.size() < kResidentClusters && begin_one()) continue;
      if (!progress && !wait_for_others(seen)) {
        std::string where;
        for (const auto& cluster : live) where += cluster->whereabouts();
        fail({FaultKind::deadlock, "synccheck", "deadlock: every thread waits for another:" + where, kernel.name});
      }
    }
  } catch (DeviceFault& fault) {
    fail(std::move(fault.report));
  } catch (const std::bad_alloc&) {
    fail({FaultKind::hardware_stack_error, "", "the host ran out of memory", kernel.name});
  }
  workers_--;
}

// All clusters of this thread wait. False when those of all threads do.
bool Launch::wait_for_others(uint64_t seen) {
  stuck_++;
  for (int i = 0; i < 200'000; i++) {
    if (progress_.load() != seen || stop.load()) return true;
    if (stuck_.load() < workers_.load()) i = 0;
    std::this_thread::yield();
  }
  return false;
}

}  // namespace vgpu
