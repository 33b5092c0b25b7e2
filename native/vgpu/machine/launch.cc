#include "machine/launch.h"

#include <algorithm>
#include <thread>

#include "check/monitor.h"
#include "count/counters.h"
#include "machine/block.h"

namespace vgpu {
namespace {

constexpr int64_t kTurn = 500'000;      // instructions of a cluster before another one's turn
constexpr size_t kResidentClusters = 64;  // per host thread, unless all must be
constexpr int kPatience = 1000;           // rounds in which nobody gets on: nanosleep ends after a few

std::string where(const std::vector<std::unique_ptr<Cluster>>& clusters) {
  std::string text;
  for (const auto& cluster : clusters) {
    if (text.size() > 8192) return text + "\n  …";
    if (cluster) text += cluster->whereabouts();
  }
  return text;
}

}  // namespace

Launch::Launch(const Program& program, const Routine& kernel, const LaunchShape& shape, std::vector<std::byte> parameters,
               Memory& memory, const Limits& limits, const Options& options)
    : program(program), kernel(kernel), shape(shape), parameters(std::move(parameters)), memory(memory), limits(limits),
      options(options) {
  static std::atomic<uint32_t> launches{0};
  if (options.checks.initcheck || options.checks.racecheck) monitor = std::make_unique<Monitor>(*this, options.checks, ++launches);
  if (options.count) counters = std::make_unique<Counters>();
}

Launch::~Launch() = default;

void Launch::fail(Report report) {
  const std::lock_guard lock(mutex_);
  if (!report_) report_ = std::move(report);
  stop.store(true);
  changed_.notify_all();
}

std::optional<Report> Launch::run() {
  const uint64_t groups = shape.blocks() / shape.cluster_blocks();
  workers_ = static_cast<int>(std::clamp<uint64_t>(groups, 1, static_cast<uint64_t>(std::max(options.threads, 1))));
  // One thread has all blocks that must run at once; and racecheck needs to see atomics in the order they have in memory.
  if (shape.cooperative || options.checks.racecheck) workers_ = 1;
  std::vector<std::thread> helpers;
  for (int i = 1, most = workers_; i < most; i++) helpers.emplace_back([this] { work(); });
  work();
  for (auto& h : helpers) h.join();
  return report_;
}

void Launch::work() {
  Counters counts;
  try {
    run_clusters(counters ? &counts : nullptr);
  } catch (DeviceFault& fault) {
    fail(std::move(fault.report));
  } catch (const std::exception& e) {
    fail({FaultKind::hardware_stack_error, "", std::string("the host could not go on: ") + e.what(), kernel.name});
  }
  const std::lock_guard lock(mutex_);
  if (counters) counters->add(counts);
  workers_--;
  deadlock_ = deadlock_ || (asleep_ > 0 && asleep_ == workers_);
  changed_.notify_all();
}

// Each host thread runs one cluster after the other. One that does not come to its end stays, and another is begun
// beside it, as on a device, where it may be what the first one waits for.
void Launch::run_clusters(Counters* counts) {
  const uint64_t groups = shape.blocks() / shape.cluster_blocks();
  std::vector<std::unique_ptr<Cluster>> live;
  auto begin_one = [&] {
    const uint64_t index = next_group_.fetch_add(1);
    if (index >= groups) return false;
    live.push_back(std::make_unique<Cluster>(*this, index, counts));
    return true;
  };
  if (shape.cooperative)
    while (begin_one()) {
    }
  for (int idle = 0; !stop.load(std::memory_order_relaxed);) {
    const uint64_t seen = progress();
    if (live.empty() && !begin_one()) return;
    bool on = false;
    for (auto& cluster : live) {
      const ClusterState state = cluster->run(kTurn);
      if (state == ClusterState::done) cluster.reset();
      on = on || state != ClusterState::waiting;
      if (stop.load(std::memory_order_relaxed)) return;
    }
    const bool finished_one = std::erase(live, nullptr) > 0;
    if (spent.load(std::memory_order_relaxed) > options.instruction_budget)
      return fail({FaultKind::timeout, "",
                   "the budget of " + std::to_string(options.instruction_budget) +
                       " warp instructions is spent; the warps are at:" + where(live),
                   kernel.name});
    if (on) note_progress();
    idle = on ? 0 : idle + 1;
    if (!finished_one && live.size() < kResidentClusters && begin_one()) continue;
    if (idle > kPatience && !wait_for_others(seen) && !stop.load())
      return fail({FaultKind::deadlock, "synccheck", "deadlock: every thread waits for another:" + where(live), kernel.name});
  }
}

uint64_t Launch::progress() {
  const std::lock_guard lock(mutex_);
  return progress_;
}

void Launch::note_progress() {
  const std::lock_guard lock(mutex_);
  progress_++;
  asleep_ = 0;
  changed_.notify_all();
}

// All clusters of this thread wait. False when those of all threads do.
bool Launch::wait_for_others(uint64_t seen) {
  std::unique_lock lock(mutex_);
  if (progress_ != seen) return true;
  deadlock_ = deadlock_ || ++asleep_ == workers_;
  if (deadlock_) changed_.notify_all();
  changed_.wait(lock, [&] { return progress_ != seen || deadlock_ || stop.load(); });
  return !deadlock_;
}

}  // namespace vgpu
