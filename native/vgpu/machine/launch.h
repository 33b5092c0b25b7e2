#pragma once
// A grid launch and its execution.
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "machine/async.h"
#include "machine/fault.h"
#include "machine/global_memory.h"
#include "program/program.h"

namespace vgpu {

struct Limits {
  uint32_t compute = 80;  // 80, 90
  uint32_t sm_count = 108;
  uint32_t shared_per_block = 48 * 1024;
  uint32_t shared_per_block_optin = 163 * 1024;
  uint32_t shared_per_sm = 164 * 1024;
  uint32_t threads_per_sm = 2048;
  uint32_t blocks_per_sm = 32;
  uint32_t registers_per_sm = 65536;
  uint64_t memory = uint64_t{16} << 30;
};

struct Checks {
  bool initcheck = false;
  bool racecheck = false;
};

class Cluster;
class Counters;
class Monitor;
enum class ClusterState : uint8_t { running, waiting, done };

// How mma and wmma accumulate the exact products. The ISA leaves order, width and rounding of the sum open.
enum class Accumulation : uint8_t {
  chain,       // a chain of single-precision fused multiply-adds
  exact,       // rounded once
  truncating,  // terms cut off at the 24th bit of the largest one, as known from hardware
};

struct Options {
  Checks checks;
  bool count = false;
  int threads = 1;  // host threads
  Completion completion = Completion::late;
  Accumulation accumulation = Accumulation::chain;
  uint64_t seed = 0;                             // 0: warps and blocks run in order
  bool approximate = false;                      // .approx instructions err by up to what the ISA allows
  uint64_t instruction_budget = 20'000'000'000;  // warp instructions per launch
  std::function<void(std::string_view)> print;   // receives the output of printf
};

struct LaunchShape {
  uint32_t grid[3] = {1, 1, 1}, block[3] = {1, 1, 1}, cluster[3] = {1, 1, 1};
  uint32_t dynamic_shared = 0;
  bool cooperative = false;

  uint32_t threads() const { return block[0] * block[1] * block[2]; }
  uint64_t blocks() const { return uint64_t{grid[0]} * grid[1] * grid[2]; }
  uint32_t cluster_blocks() const { return cluster[0] * cluster[1] * cluster[2]; }
};

class Launch {
 public:
  Launch(const Program& program, const Routine& kernel, const LaunchShape& shape, std::vector<std::byte> parameters,
         Memory& memory, const Limits& limits, const Options& options);
  ~Launch();

  // Runs the grid to its end. Returns a report if it failed.
  std::optional<Report> run();

  const Program& program;
  const Routine& kernel;
  const LaunchShape shape;
  std::vector<std::byte> parameters;
  Memory& memory;
  const Limits& limits;
  const Options& options;

  std::unique_ptr<Monitor> monitor;    // null without checks
  std::unique_ptr<Counters> counters;  // null without counting
  std::atomic<uint64_t> spent{0};      // warp instructions
  std::atomic<bool> stop{false};
  void fail(Report report);
  // The address at which a cooperative launch synchronises its blocks; otherwise 0.
  uint64_t workspace() const { return shape.cooperative ? reinterpret_cast<uint64_t>(&grid_workspace_) : 0; }

 private:
  using Clusters = std::vector<std::unique_ptr<Cluster>>;
  void work();
  void run_clusters(Clusters& live, Counters* counts);
  bool run_turns(Clusters& live);
  bool begin_one(Clusters& live, Counters* counts);
  ClusterState run_turn(Cluster& cluster);
  void note_whereabouts(const Clusters& live);
  uint64_t progress();
  void note_progress();
  bool wait_for_others(uint64_t seen);

  // The structure that grid.sync of cooperative groups expects at the address in %envreg1 and %envreg2
  // (cooperative_groups/details/driver_abi.h). It is part of device memory while the grid runs.
  struct GridWorkspace {
    uint32_t bytes = sizeof(GridWorkspace), barrier = 0;
  } grid_workspace_;

  std::atomic<uint64_t> next_group_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  // Protected by the mutex. A thread whose clusters all wait goes to sleep until another thread makes progress. When
  // all threads sleep, each has polled all its clusters since the last change, so nothing can change any more.
  uint64_t progress_ = 0;  // number of times a thread made progress
  int64_t budget_;         // instructions that are neither spent nor borrowed
  int64_t on_loan_ = 0;    // instructions borrowed by running turns
  int workers_ = 0;
  int asleep_ = 0;
  bool deadlock_ = false;
  std::optional<Report> report_;
  std::string whereabouts_;  // positions of all threads' warps, if the grid does not finish
};

}  // namespace vgpu
