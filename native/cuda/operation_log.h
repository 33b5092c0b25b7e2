#pragma once
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "cuda/cuda.h"

namespace caracal {

// What was put on the GPU and is not known to have ended well: which operations, what they read and wrote, and where
// their kernels say that the data is wrong.
class OperationLog {
 public:
  struct Entry {
    const char* op;
    std::vector<std::weak_ptr<Storage>> in, out;
    std::optional<Cuda::Check> check;
    std::shared_ptr<OperationLog> graph;  // the operations are those of a graph
  };
  // Room for the checks of `checks` operations.
  OperationLog(const Driver& driver, size_t checks);

  bool full() const { return used_ == slots_ || entries_.size() >= kLongest; }
  Fault* next_fault() { return faults() + used_; }
  void add(Entry entry);
  void lose_check() { used_++; }  // of an operation that did not come to its end

  // After the GPU was waited for: gives the outputs of every operation the fault that it, or one of its inputs, has.
  void settle();
  // The GPU is lost: so are the outputs. Returns what it was about.
  std::string names() const;
  void fail(const std::shared_ptr<const Error>& why);

 private:
  using Faulty = std::map<std::weak_ptr<Storage>, std::shared_ptr<const Error>, std::owner_less<>>;
  Fault* faults() const { return reinterpret_cast<Fault*>(memory_.data()); }
  bool raised() const;
  void spread(Faulty& faulty) const;
  void clear_faults();
  template <class Fn>
  void each(Fn&& fn) const;

  static constexpr size_t kLongest = 4096;
  const size_t slots_;
  PinnedMemory memory_;
  size_t used_ = 0;
  std::deque<Entry> entries_;
};

}  // namespace caracal
