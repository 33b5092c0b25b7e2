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

// bar, barrier. A warp has arrived when all its lanes that have not exited have come.
struct NamedBarrier {
  uint32_t expected = 0;               // threads, of whole warps; 0: nobody has come yet
  bool all = false;                    // whoever is left of the block, rather than so many
  uint8_t reduction = 0;               // the one of bar.red that all use, if any
  std::array<uint32_t, 32> here = {};  // of each warp, the lanes that have come
  uint64_t phase = 0;                  // completed so far
  uint32_t count = 0, voters = 0;      // of bar.red: predicates that are true, and all
  uint32_t waiting = 0;                // splits that will look at the outcome

  // What phases came to, as long as somebody has yet to look: one warp may be late and others well into the next.
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
  uint32_t shared_bytes;  // with what the system keeps
  std::vector<std::byte> shared;
  std::unique_ptr<Shadow> shadow;  // of `shared`, where it is checked
  std::vector<std::unique_ptr<Warp>> warps;
  NamedBarrier barriers[16];
  WarpgroupLog warpgroups;

  void thread_of(uint32_t warp, uint32_t lane, uint32_t (&out)[3]) const;
};

class Cluster {
 public:
  Cluster(Launch& launch, uint64_t index, Counters* counters);

  // Runs its warps in turn for at most `budget` instructions, which is counted down.
  ClusterState run(int64_t& budget);
  // Where every warp waits, for a report.
  std::string whereabouts() const;

  Launch& launch;
  const uint64_t index;      // in the grid
  Counters* const counters;  // of the host thread; null without counting
  std::array<uint32_t, 3> id;
  std::vector<std::unique_ptr<Block>> blocks;

  uint64_t barrier_phase = 0;  // of barrier.cluster: completed so far
  // With a seed, of everything that may happen in one order or another.
  Random random;
  bool shuffled() const { return launch.options.seed != 0; }

 private:
  // Completes the copies in flight; false if there were none.
  bool complete_copies();

  uint64_t rounds_ = 0;
  std::vector<Warp*> order_;  // in which warps take their turns: the first is the one whose turn it is
};

// Where the current instruction of a warp stands.
void locate(const Warp& warp, Report& report);

}  // namespace vgpu
