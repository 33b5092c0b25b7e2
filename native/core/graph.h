#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <set>

#include "core/tensor.h"

namespace caracal {

// Operations that are kept instead of run: what a graph is made of.
struct Recording {
  using Job = std::function<std::shared_ptr<const Error>()>;  // what went wrong, or null
  using Storages = std::set<std::shared_ptr<Storage>>;
  using WeakStorages = std::set<std::weak_ptr<Storage>, std::owner_less<>>;

  std::deque<Job> jobs;
  Storages inputs;       // made outside; held as long as the graph is there
  WeakStorages outputs;  // made here, or written in place

  void reads(const std::shared_ptr<Storage>& s) {
    if (!outputs.contains(s)) inputs.insert(s);
  }
  void writes_in_place(const std::shared_ptr<Storage>& s) {
    reads(s);
    outputs.insert(s);
  }
  void makes(const std::shared_ptr<Storage>& s) {
    outputs.insert(s);
    s->fault = std::make_shared<Error>(code::kInvalidArgument,
                                       "the tensor is computed by a graph that has not been replayed: replay() it, "
                                       "and read it afterwards");
  }
};

// Operations that a device runs again and again, on the same memory.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual void replay() = 0;  // only from jobs of its device
};

}  // namespace caracal
