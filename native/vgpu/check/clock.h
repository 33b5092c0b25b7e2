#pragma once
// Vector clocks. An agent is a warp, or a warp's asynchronous copies; what an agent has done up to a time is known to
// another when that one's clock says so. (Flanagan and Freund, "FastTrack", PLDI 2009, with warps for threads.)
#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace vgpu {

// Counts agents through the whole grid: those of a cluster follow one another.
using Agent = uint32_t;

class VectorClock {
 public:
  VectorClock() = default;
  // Of an agent of the cluster whose agents are [first, first + count).
  VectorClock(Agent first, uint32_t count) : first_(first), near_(count, 0) {}

  uint32_t of(Agent agent) const { return agent - first_ < near_.size() ? near_[agent - first_] : of_far(agent); }
  // The same, but nothing is known of agents of other clusters.
  uint32_t of_near(Agent agent) const { return agent - first_ < near_.size() ? near_[agent - first_] : 0; }
  void set(Agent agent, uint32_t time) {
    if (agent - first_ < near_.size())
      near_[agent - first_] = time;
    else
      far_[agent] = time;
  }
  // What is known of every agent of which anything is.
  template <class F>
  void each(F&& fn) const {
    for (size_t i = 0; i < near_.size(); i++)
      if (near_[i] > 0) fn(first_ + static_cast<Agent>(i), near_[i]);
    for (const auto& [agent, time] : far_) fn(agent, time);
  }
  // Knows all that the other knows.
  void join(const VectorClock& other) {
    if (other.first_ == first_ && near_.size() == other.near_.size()) {
      for (size_t i = 0; i < near_.size(); i++) near_[i] = std::max(near_[i], other.near_[i]);
    } else {
      if (near_.empty() && far_.empty()) {
        *this = other;
        return;
      }
      other.each([this](Agent agent, uint32_t time) { raise(agent, time); });
      return;
    }
    for (const auto& [agent, time] : other.far_) raise(agent, time);
  }
  void raise(Agent agent, uint32_t time) {
    if (of(agent) < time) set(agent, time);
  }

 private:
  uint32_t of_far(Agent agent) const {
    const auto found = far_.find(agent);
    return found == far_.end() ? 0 : found->second;
  }

  Agent first_ = 0;
  std::vector<uint32_t> near_;               // of the own cluster
  std::unordered_map<Agent, uint32_t> far_;  // of others, of which little is known
};

// What a warp carries: its own clock and that of the asynchronous copies it has issued.
struct WarpClocks {
  VectorClock warp, copies;
  bool ready = false;
};

}  // namespace vgpu
