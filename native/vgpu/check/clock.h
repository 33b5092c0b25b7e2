#pragma once
// Vector clocks. An agent is a warp, or the asynchronous copies of a warp. A clock holds, for each agent, the time up
// to which that agent's actions happened before. (Flanagan and Freund, "FastTrack", PLDI 2009, with warps in place of
// threads.)
#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace vgpu {

// Numbers agents through the whole grid; the agents of a cluster are contiguous.
using Agent = uint32_t;

class VectorClock {
 public:
  VectorClock() = default;
  // The clock of an agent whose cluster has the agents [first, first + count).
  VectorClock(Agent first, uint32_t count) : first_(first), own_(count, 0) {}

  uint32_t of(Agent agent) const { return agent - first_ < own_.size() ? own_[agent - first_] : of_other(agent); }
  // As `of`, but ignores agents of other clusters.
  uint32_t of_own(Agent agent) const { return agent - first_ < own_.size() ? own_[agent - first_] : 0; }
  void set(Agent agent, uint32_t time) {
    if (agent - first_ < own_.size())
      own_[agent - first_] = time;
    else
      other_[agent] = time;
  }
  // Calls fn(agent, time) for every agent with a time above 0.
  template <class F>
  void each(F&& fn) const {
    for (size_t i = 0; i < own_.size(); i++)
      if (own_[i] > 0) fn(first_ + static_cast<Agent>(i), own_[i]);
    for (const auto& [agent, time] : other_) fn(agent, time);
  }
  // Takes the maximum of both clocks for every agent.
  void join(const VectorClock& other) {
    if (other.first_ == first_ && own_.size() == other.own_.size()) {
      for (size_t i = 0; i < own_.size(); i++) own_[i] = std::max(own_[i], other.own_[i]);
    } else {
      if (own_.empty() && other_.empty()) {
        *this = other;
        return;
      }
      other.each([this](Agent agent, uint32_t time) { raise(agent, time); });
      return;
    }
    for (const auto& [agent, time] : other.other_) raise(agent, time);
  }
  void raise(Agent agent, uint32_t time) {
    if (of(agent) < time) set(agent, time);
  }

 private:
  uint32_t of_other(Agent agent) const {
    const auto found = other_.find(agent);
    return found == other_.end() ? 0 : found->second;
  }

  Agent first_ = 0;
  std::vector<uint32_t> own_;                  // agents of the same cluster
  std::unordered_map<Agent, uint32_t> other_;  // agents of other clusters; usually few
};

// The clocks of a warp and of the asynchronous copies that it has issued.
struct WarpClocks {
  VectorClock warp, copies;
  bool ready = false;
};

}  // namespace vgpu
