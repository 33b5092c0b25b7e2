#pragma once
// A CTA, and the CTAs of a cluster, which one host thread runs together.
#include <array>
#include <memory>
#include <vector>

#include "machine/launch.h"
#include "machine/random.h"
#include "machine/warp.h"

namespace vgpu {

class Cluster;

struct NamedBarrier {
  uint32_t arrived = 0;   // threads
  uint32_t expected = 0;  // threads; 0: nobody has come yet
  uint64_t phase = 0;     // completed so far
  // bar.red: what the arrivals gave, and what the last phase came to
  uint32_t count = 0, all = 1, any = 0;
  uint32_t result_count = 0, result_all = 0, result_any = 0;
};

class Block {
 public:
  Block(Launch& launch, Cluster& cluster, std::array<uint32_t, 3> id, uint32_t rank);

  Launch& launch;
  Cluster& cluster;
  const std::array<uint32_t, 3> id;
  const uint32_t rank;  // in the cluster
  uint32_t threads;
  uint32_t shared_bytes;
  std::vector<std::byte> shared;
  std::unique_ptr<Shadow> shadow;  // of `shared`, where it is checked
  std::vector<std::unique_ptr<Warp>> warps;
  NamedBarrier barriers[16];
  WarpgroupLog warpgroups;
  uint32_t exited_threads = 0;

  // Threads of a barrier for the whole block: whole warps, without those that have exited.
  uint32_t expected_at_barrier() const;
  void thread_of(uint32_t warp, uint32_t lane, uint32_t (&out)[3]) const;
};

enum class ClusterState : uint8_t { running, waiting, done };

// barrier.cluster: threads that have arrived in the current phase.
struct ClusterBarrier {
  uint32_t arrived = 0;
  uint64_t phase = 0;
};

class Cluster {
 public:
  Cluster(Launch& launch, uint64_t index, Counters* counters);

  // Runs its warps in turn for about `budget` instructions.
  ClusterState run(int64_t budget);
  // Where every warp waits, for a report.
  std::string whereabouts() const;

  Launch& launch;
  const uint64_t index;     // in the grid
  Counters* const counters;  // of the host thread; null without counting
  std::array<uint32_t, 3> id;
  std::vector<std::unique_ptr<Block>> blocks;

  ClusterBarrier barrier;
  // With a seed, of everything that may happen in one order or another.
  Random random;
  bool shuffled() const { return launch.options.seed != 0; }

 private:
  // Completes the copies in flight; false if there were none.
  bool complete_copies();

  uint64_t rounds_ = 0;
  std::vector<Warp*> order_;  // in which warps take their turns
};

// Where the current instruction of a warp stands.
void locate(const Warp& warp, Report& report);

}  // namespace vgpu
