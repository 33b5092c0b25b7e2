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

// The operations that were put on the GPU since the last wait: the tensors that they read and wrote, and the places
// where their kernels report invalid data. A write of a whole tensor is one of them, since it ends the tensor's fault.
class OperationLog {
 public:
  struct Entry {
    const char* op;
    std::vector<std::weak_ptr<Storage>> in, out;
    std::optional<Cuda::Check> check;
    std::shared_ptr<OperationLog> graph;  // if set, the entry stands for the operations of a launched graph
  };
  // Has room for the checks of `checks` operations.
  OperationLog(const Driver& driver, size_t checks);

  // A log that is full has room for one more operation, and for the lost check of one before it.
  bool full() const { return used_ >= slots_ || entries_.size() >= kLongest; }
  bool has_checks() const { return used_ > 0; }
  bool launched(const OperationLog& graph) const;  // whether one of the entries stands for it
  Fault* next_fault() { return faults() + used_; }
  void add(Entry entry);
  void lose_check() { used_++; }  // skips the check of an operation that failed before add()

  // Called after waiting for the GPU. Gives tensors the fault of the last operation that wrote them, or of its inputs,
  // and empties the log.
  void settle();
  std::string names() const;  // of the operations, for a message
  // Called when the GPU is lost. Makes `why` the fault of all outputs, and empties the log.
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
