#pragma once
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>

#include "core/tensor.h"

namespace caracal {

// Operations that are recorded instead of run, to become a graph.
struct Recording {
  using Job = std::function<std::shared_ptr<const Error>()>;  // returns its error, or null
  using Storages = std::set<std::shared_ptr<Storage>>;
  using WeakStorages = std::set<std::weak_ptr<Storage>, std::owner_less<>>;
  using LastUses = std::map<std::weak_ptr<Storage>, size_t, std::owner_less<>>;

  std::deque<Job> jobs;
  Storages inputs;       // created before the recording; held for as long as the graph exists
  WeakStorages outputs;  // created by the recording, or written in place
  LastUses last_uses;    // of what the recording creates: the index of the last job that reads or writes it

  // These three are called before the job is added.
  void reads(const std::shared_ptr<Storage>& s) {
    if (!outputs.contains(s)) inputs.insert(s);
    if (const auto it = last_uses.find(s); it != last_uses.end()) it->second = jobs.size();
  }
  void writes_in_place(const std::shared_ptr<Storage>& s) {
    reads(s);
    outputs.insert(s);
  }
  void makes(const std::shared_ptr<Storage>& s) {
    outputs.insert(s);
    last_uses[s] = jobs.size();
    s->fault = std::make_shared<Error>(code::kInvalidArgument,
                                       "the tensor is computed by a graph that has not been replayed: call replay() "
                                       "before reading it");
  }
};

// Operations that a device runs any number of times, each time on the same memory.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual void replay() = 0;  // called only by jobs of its device
};

}  // namespace caracal
