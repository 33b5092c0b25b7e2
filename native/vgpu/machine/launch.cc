#include "machine/launch.h"

#include <algorithm>
#include <thread>

#include "check/monitor.h"
#include "count/counters.h"
#include "machine/block.h"

namespace vgpu {
namespace {

constexpr int64_t kTurn = 500'000;           // instructions of a cluster before another one's turn
constexpr int64_t kShortTurn = 2'000;        // where all wait for all again and again
constexpr uint32_t kLongestRandomTurn = 14;  // a power of two
constexpr size_t kResidentClusters = 64;     // per host thread, unless all must be
constexpr int kPatience = 1000;              // rounds in which nobody gets on: nanosleep ends after a few

}  // namespace

Launch::Launch(const Program& program, const Routine& kernel, const LaunchShape& shape,
               std::vector<std::byte> parameters, Memory& memory, const Limits& limits, const Options& options)
    : program(program),
      kernel(kernel),
      shape(shape),
      parameters(std::move(parameters)),
      memory(memory),
      limits(limits),
      options(options),
      budget_(static_cast<int64_t>(std::min<uint64_t>(options.instruction_budget, INT64_MAX))) {
  static std::atomic<uint32_t> launches{0};
  if (options.checks.initcheck || options.checks.racecheck)
    monitor = std::make_unique<Monitor>(*this, options.checks, ++launches);
  if (options.count) counters = std::make_unique<Counters>();
  if (shape.cooperative) memory.share(&grid_workspace_, sizeof grid_workspace_);
}

Launch::~Launch() {
  if (shape.cooperative) memory.release(workspace());
}

void Launch::fail(Report report) {
  const std::lock_guard lock(mutex_);
  if (!report_) report_ = std::move(report);
  stop.store(true);
  changed_.notify_all();
}

std::optional<Report> Launch::run() {
  const uint64_t groups = shape.blocks() / shape.cluster_blocks();
  workers_ = static_cast<int>(std::clamp<uint64_t>(groups, 1, static_cast<uint64_t>(std::max(options.threads, 1))));
  // One thread has all blocks that must run at once; and racecheck needs to see atomics in the order they have in
  // memory.
  if (shape.cooperative || options.checks.racecheck) workers_ = 1;
  std::vector<std::thread> helpers;
  for (int i = 1, most = workers_; i < most; i++) helpers.emplace_back([this] { work(); });
  work();
  for (auto& h : helpers) h.join();
  if (report_) report_->message += whereabouts_;
  return report_;
}

void Launch::work() {
  Counters counts;
  Clusters live;
  try {
    run_clusters(live, counters ? &counts : nullptr);
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
void Launch::run_clusters(Clusters& live, Counters* counts) {
  while (shape.cooperative && begin_one(live, counts)) {
  }
  for (int idle = 0; !stop.load(std::memory_order_relaxed);) {
    const uint64_t seen = progress();
    if (live.empty() && !begin_one(live, counts)) return;
    const bool on = run_turns(live);
    if (stop.load(std::memory_order_relaxed)) break;
    const bool finished_one = std::erase(live, nullptr) > 0;
    if (on) note_progress();
    idle = on ? 0 : idle + 1;
    if (!finished_one && live.size() < kResidentClusters && begin_one(live, counts)) continue;
    if (idle > kPatience && !wait_for_others(seen) && !stop.load())
      fail({FaultKind::deadlock, "synccheck", "deadlock: every thread waits for another:", kernel.name});
  }
  note_whereabouts(live);
}

bool Launch::begin_one(Clusters& live, Counters* counts) {
  const uint64_t index = next_group_.fetch_add(1);
  if (index >= shape.blocks() / shape.cluster_blocks()) return false;
  live.push_back(std::make_unique<Cluster>(*this, index, counts));
  return true;
}

// False if all of them wait.
bool Launch::run_turns(Clusters& live) {
  bool on = false;
  for (auto& cluster : live) {
    const ClusterState state = run_turn(*cluster);
    if (state == ClusterState::done) cluster.reset();
    on = on || state != ClusterState::waiting;
    if (stop.load(std::memory_order_relaxed)) break;
  }
  return on;
}

// On instructions taken from the budget beforehand, so that all threads together never exceed it. It is spent when none
// is left and nobody may give some back.
ClusterState Launch::run_turn(Cluster& cluster) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return budget_ > 0 || on_loan_ == 0 || stop.load(); });
  if (stop.load()) return ClusterState::running;
  if (budget_ == 0) {
    lock.unlock();
    fail({FaultKind::timeout, "",
          "the budget of " + std::to_string(options.instruction_budget) +
              " warp instructions is spent; the warps are at:",
          kernel.name});
    return ClusterState::running;
  }
  const int64_t turn = cluster.shuffled()  ? int64_t{1} << cluster.random.below(kLongestRandomTurn)
                       : shape.cooperative ? kShortTurn
                                           : kTurn;
  const int64_t loan = std::min(turn, budget_);
  budget_ -= loan;
  on_loan_ += loan;
  lock.unlock();
  int64_t left = loan;
  const auto give_back = [&] {
    lock.lock();
    budget_ += left;
    on_loan_ -= loan;
    if (workers_ > 1 && budget_ <= kTurn) changed_.notify_all();
  };
  try {
    const ClusterState state = cluster.run(left);
    give_back();
    return state;
  } catch (...) {
    give_back();
    throw;
  }
}

// Each thread adds its own, when all have stopped because the grid would not end.
void Launch::note_whereabouts(const Clusters& live) {
  const std::lock_guard lock(mutex_);
  if (!report_ || (report_->kind != FaultKind::timeout && report_->kind != FaultKind::deadlock)) return;
  for (const auto& cluster : live) {
    if (whereabouts_.size() > 8192) {
      whereabouts_ += "\n  …";
      return;
    }
    if (cluster) whereabouts_ += cluster->whereabouts();
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
