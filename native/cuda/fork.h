#pragma once
#include <memory>
#include <set>

#include "core/tensor.h"
#include "cuda/gpu.h"

namespace caracal {

// A second stream. What is put on it between begin() and end() runs beside what comes later on the first one, until
// something there touches what the fork has written, or writes what it reads: then the first stream waits (join).
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
  // While it is open: its storages stay until the join, lest the first stream's next tensors take their place.
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
  // Nothing of it is going to run, or may still run.
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
