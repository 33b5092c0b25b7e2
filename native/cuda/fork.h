#pragma once
#include <memory>
#include <set>

#include "core/tensor.h"
#include "cuda/gpu.h"

namespace caracal {

// A second stream. The work put on it between begin() and end() runs in parallel with later work on the first stream. Before
// that stream touches storage that the fork has written, or writes storage that the fork reads, it must wait (join).
class Fork {
 public:
  explicit Fork(const Driver& driver) : stream_(driver), begun_(driver), ended_(driver) {}

  CUstream stream() const { return stream_; }
  bool open() const { return open_; }

  void begin(CUstream first) {
    begun_.record(first);
    begun_.hold_up(stream_);
    open_ = true;
  }
  void end() {
    open_ = false;
    pending_ = true;
    ended_.record(stream_);
  }
  // While the fork is open: holds the storages until the join, so that their memory is not given to tensors of the first
  // stream.
  void reads(const std::shared_ptr<Storage>& s) { read_.insert(s); }
  void writes(const std::shared_ptr<Storage>& s) { written_.insert(s); }

  bool must_end_before(const std::shared_ptr<Storage>& s, bool write) const {
    return pending_ && (written_.contains(s) || (write && read_.contains(s)));
  }
  void join(CUstream first) {
    if (open_) return;
    if (pending_) ended_.hold_up(first);
    forget();
  }
  // For when none of the fork's work is still running or will run.
  void forget() {
    open_ = pending_ = false;
    read_.clear();
    written_.clear();
  }

 private:
  Stream stream_;
  Event begun_, ended_;
  bool open_ = false, pending_ = false;
  std::set<std::shared_ptr<Storage>> read_, written_;
};

}  // namespace caracal
