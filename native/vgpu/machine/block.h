#pragma once
// A CTA, and a cluster of CTAs, which one host thread runs together.
#include <array>
#include <memory>
#include <vector>

#include "machine/launch.h"
#include "machine/random.h"
#include "machine/warp.h"

namespace vgpu {

class Cluster;

// The state of a bar or barrier. A warp has arrived when all its lanes that have not exited have arrived.
struct NamedBarrier {
  uint32_t expected = 0;                  // threads, in whole warps; 0: none has arrived yet
  bool all = false;                       // all threads of the block that have not exited are expected
  uint8_t reduction = 0;                  // the reduction of bar.red that all participants use, if any
  std::array<uint32_t, 32> arrived = {};  // per warp, the lanes that have arrived
  uint64_t phase = 0;                     // number of completed phases
  uint32_t count = 0, voters = 0;         // bar.red: true predicates, and all predicates
  uint32_t waiting = 0;                   // splits that will read the outcome

  // Outcomes of completed phases that some split has yet to read: one warp may be late while others are well into the
  // next phase.
  struct Outcome {
    uint64_t phase;
    uint32_t count, voters, waiting;
  };
  std::vector<Outcome> outcomes;
};

class Block {
 public:
  Block(Launch& launch, Cluster& cluster, std::array<uint32_t, 3> id, uint32_t rank);

  Launch& launch;
  Cluster& cluster;
  const std::array<uint32_t, 3> id;
  const uint32_t rank;  // in the cluster
  uint32_t threads;
  uint32_t shared_bytes;  // includes the system's reservation
  std::vector<std::byte> shared;
  std::unique_ptr<Shadow> shadow;  // shadow of `shared`; null without checks
  std::vector<std::unique_ptr<Warp>> warps;
  NamedBarrier barriers[16];
  WarpgroupLog warpgroups;

  void thread_of(uint32_t warp, uint32_t lane, uint32_t (&out)[3]) const;
};

class Cluster {
 public:
  Cluster(Launch& launch, uint64_t index, Counters* counters);

  // Runs the warps in turn for at most `budget` instructions and subtracts those executed.
  ClusterState run(int64_t& budget);
  // The position of every warp, for a report.
  std::string whereabouts() const;

  Launch& launch;
  const uint64_t index;      // in the grid
  Counters* const counters;  // the host thread's; null without counting
  std::array<uint32_t, 3> id;
  std::vector<std::unique_ptr<Block>> blocks;

  uint64_t barrier_phase = 0;  // completed phases of barrier.cluster
  // With a seed, decides everything whose order is not defined.
  Random random;
  bool shuffled() const { return launch.options.seed != 0; }

 private:
  // Completes the copies in flight. Returns false if there were none.
  bool complete_copies();

  uint64_t rounds_ = 0;
  std::vector<Warp*> order_;  // the order of the warps' turns, beginning with the next
};

// Adds the position of a warp's current instruction to a report.
void locate(const Warp& warp, Report& report);

}  // namespace vgpu
