#include "machine/launch.h"

#include <algorithm>
#include <thread>

#include "check/monitor.h"
#include "count/counters.h"
#include "machine/block.h"

namespace vgpu {
namespace {

constexpr int64_t kTurn = 500'000;        // instructions of a cluster before the next cluster's turn
constexpr int64_t kShortTurn = 2'000;     // for cooperative launches, whose blocks often wait for each other
constexpr uint32_t kRandomTurns = 14;     // log2 of the instructions
constexpr size_t kResidentClusters = 64;  // per host thread, unless all clusters must be resident
constexpr int kMaxIdleRounds = 1000;      // rounds without progress; nanosleep ends after a few

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
  // Blocks that must run at the same time share one thread. racecheck needs it to see atomics in memory order.
  if (shape.cooperative || options.checks.racecheck) workers_ = 1;
  std::vector<std::thread> helpers;
  for (int i = 1, count = workers_; i < count; i++) helpers.emplace_back([this] { work(); });
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
    fail({FaultKind::hardware_stack_error, "", std::string("the host failed: ") + e.what(), kernel.name});
  }
  const std::lock_guard lock(mutex_);
  if (counters) counters->add(counts);
  workers_--;
  deadlock_ = deadlock_ || (asleep_ > 0 && asleep_ == workers_);
  changed_.notify_all();
}

// Each host thread runs one cluster after the other. A cluster that does not finish is set aside and another one is
// started, as on a device, because the first may be waiting for it.
void Launch::run_clusters(Clusters& live, Counters* counts) {
  while (shape.cooperative && begin_one(live, counts)) {
  }
  for (int idle = 0; !stop.load(std::memory_order_relaxed);) {
    const uint64_t seen = progress();
    if (live.empty() && !begin_one(live, counts)) return;
    const bool progressed = run_turns(live);
    if (stop.load(std::memory_order_relaxed)) break;
    const bool finished_one = std::erase(live, nullptr) > 0;
    if (progressed) note_progress();
    idle = progressed ? 0 : idle + 1;
    if (!finished_one && live.size() < kResidentClusters && begin_one(live, counts)) continue;
    if (idle > kMaxIdleRounds && !wait_for_others(seen) && !stop.load())
      fail({FaultKind::deadlock, "synccheck", "deadlock: every warp is waiting:", kernel.name});
  }
  note_whereabouts(live);
}

bool Launch::begin_one(Clusters& live, Counters* counts) {
  const uint64_t index = next_group_.fetch_add(1);
  if (index >= shape.blocks() / shape.cluster_blocks()) return false;
  live.push_back(std::make_unique<Cluster>(*this, index, counts));
  return true;
}

// Returns false if all clusters are waiting.
bool Launch::run_turns(Clusters& live) {
  bool progressed = false;
  for (auto& cluster : live) {
    const ClusterState state = run_turn(*cluster);
    if (state == ClusterState::done) cluster.reset();
    progressed = progressed || state != ClusterState::waiting;
    if (stop.load(std::memory_order_relaxed)) break;
  }
  return progressed;
}

// Runs a cluster on instructions borrowed from the budget, so that the threads together never exceed it. The budget is
// spent when none are left and no thread may return any.
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
  const int64_t turn = cluster.shuffled()  ? int64_t{1} << cluster.random.below(kRandomTurns)
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

// Each thread adds its own warps, after all have stopped because the grid does not finish.
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

// Called when all clusters of this thread are waiting. Returns false if those of all threads are.
bool Launch::wait_for_others(uint64_t seen) {
  std::unique_lock lock(mutex_);
  if (progress_ != seen) return true;
  deadlock_ = deadlock_ || ++asleep_ == workers_;
  if (deadlock_) changed_.notify_all();
  changed_.wait(lock, [&] { return progress_ != seen || deadlock_ || stop.load(); });
  return !deadlock_;
}

}  // namespace vgpu
