#include "machine/async.h"

#include <algorithm>
#include <cstring>

#include "check/monitor.h"
#include "machine/address.h"
#include "machine/block.h"
#include "machine/mbarrier.h"

namespace vgpu {
namespace {

bool chance(Warp& w) { return w.block.cluster.random.below(4) == 0; }

}  // namespace

void AsyncCopies::issue(Warp& w, Copy&& copy) {
  std::memcpy(copy.group, committed_, sizeof committed_);
  const Completion when = w.block.launch.options.completion;
  pending_.push_back(std::move(copy));
  Copy& last = pending_.back();
  if (when == Completion::early || (when == Completion::random && chance(w))) {
    complete(w, last, last.mask);
    pending_.pop_back();
    return;
  }
  for (int l = 0; l < kLanes; l++)
    if (last.mask >> l & 1) std::memset(last.to[l], 0xff, last.bytes);
}

void AsyncCopies::commit(Warp& w, uint32_t mask) {
  if (Monitor* m = w.block.launch.monitor.get()) {
    times_.resize(std::max<size_t>(times_.size(), committed_[__builtin_ctz(mask)] + 1));
    times_[committed_[__builtin_ctz(mask)]] = m->copies_time(w);
  }
  for (int l = 0; l < kLanes; l++) committed_[l] += mask >> l & 1;
  complete_some(w);
}

void AsyncCopies::wait_group(Warp& w, uint32_t mask, uint32_t pending) {
  for (Copy& copy : pending_) {
    if (copy.bytes == 0) continue;
    uint32_t due = 0;
    for (int l = 0; l < kLanes; l++) due |= static_cast<uint32_t>(copy.group[l] + pending < committed_[l]) << l;
    complete(w, copy, copy.mask & mask & due);
  }
  complete_some(w);
  sweep();
  const uint32_t groups = committed_[__builtin_ctz(mask)];
  if (Monitor* m = w.block.launch.monitor.get(); m && groups > pending)
    m->waited_for_copies(w, times_[groups - pending - 1]);
}

void AsyncCopies::wait_all(Warp& w, uint32_t mask) {
  commit(w, mask);
  wait_group(w, mask, 0);
}

void AsyncCopies::arrive_after(Warp& w, uint32_t mask, std::byte* const (&barrier)[kLanes]) {
  Copy arrival{};
  arrival.mask = mask;
  for (int l = 0; l < kLanes; l++) arrival.to[l] = barrier[l];
  pending_.push_back(arrival);
  complete_some(w);
  if (w.block.launch.options.completion == Completion::early) complete_all(w);
}

bool AsyncCopies::complete_all(Warp& w) {
  if (pending_.empty()) return false;
  for (Copy& copy : pending_) complete(w, copy, copy.mask);
  pending_.clear();
  return true;
}

const AsyncCopies::Copy* AsyncCopies::first_copy() const {
  const auto found = std::find_if(pending_.begin(), pending_.end(), [](const Copy& c) { return c.bytes != 0; });
  return found == pending_.end() ? nullptr : &*found;
}

void AsyncCopies::complete(Warp& w, Copy& copy, uint32_t lanes) {
  copy.mask &= ~lanes;
  for (; lanes; lanes &= lanes - 1) {
    const int l = __builtin_ctz(lanes);
    if (copy.bytes == 0) {
      if (Monitor* m = w.block.launch.monitor.get())
        m->release(w, Monitor::location(*w.block.shadow, static_cast<uint64_t>(copy.to[l] - w.block.shared.data())),
                   By::copy);
      mbarrier::arrive(w, l, copy.to[l], 1, mbarrier::kAsynchronous);
      continue;
    }
    const uint32_t source_bytes = copy.from_bytes[l];
    if (source_bytes) std::memcpy(copy.to[l], copy.from[l], source_bytes);
    std::memset(copy.to[l] + source_bytes, 0, copy.bytes - source_bytes);
  }
}

// With random completion any copy may complete now, and so may any arrival whose copies have completed.
void AsyncCopies::complete_some(Warp& w) {
  if (w.block.launch.options.completion != Completion::random) return;
  uint32_t incomplete = 0;
  for (Copy& copy : pending_) {
    const uint32_t lanes = copy.bytes == 0 ? copy.mask & ~incomplete : copy.mask;
    if (lanes && chance(w)) complete(w, copy, lanes);
    incomplete |= copy.mask;
  }
  sweep();
}

void AsyncCopies::sweep() {
  std::erase_if(pending_, [](const Copy& c) { return c.mask == 0; });
}

}  // namespace vgpu
