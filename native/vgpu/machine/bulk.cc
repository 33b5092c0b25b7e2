#include "machine/bulk.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "check/monitor.h"
#include "count/counters.h"
#include "machine/address.h"
#include "machine/block.h"
#include "machine/mbarrier.h"

namespace vgpu {
namespace {

[[noreturn]] void fault(Warp& w, int lane, FaultKind kind, std::string message) {
  w.fault_lane = lane;
  throw DeviceFault{{kind, "memcheck", "bulk copy: " + std::move(message), {}}};
}

// The number of elements of a box along a dimension.
uint32_t extent(const TensorMap& map, int d) {
  const uint32_t step = d == 0 ? 1 : map.element_stride[d];
  return (map.box[d] + step - 1) / step;
}

uint64_t box_bytes(const TensorMap& map) {
  uint64_t bytes = map.element_bits / 8;
  for (int d = 0; d < map.rank; d++) bytes *= extent(map, d);
  return bytes;
}

// The position in shared memory of a byte of the packed box. The swizzle depends on the address, not on the box.
uint64_t swizzled(TensorSwizzle swizzle, uint64_t address) {
  const uint64_t mask = (uint64_t{1} << static_cast<unsigned>(swizzle)) - 1;
  return address ^ (address >> 7 & mask) << 4;
}

// Calls fn(offset in the packed box, global address, bytes) for the part of each row of the box that lies inside the
// tensor.
template <class F>
void each_row(const BulkCopy& c, F&& fn) {
  const TensorMap& map = c.map;
  const uint64_t element = map.element_bits / 8, row_bytes = element * extent(map, 0);
  uint32_t index[5] = {};
  for (uint64_t offset = 0, all = box_bytes(map); offset < all; offset += row_bytes) {
    bool inside = true;
    uint64_t address = map.address;
    for (int d = 1; d < map.rank; d++) {
      const int64_t at = int64_t{c.at[d]} + int64_t{index[d]} * map.element_stride[d];
      inside = inside && at >= 0 && at <= map.last[d];
      address += static_cast<uint64_t>(at) * map.stride[d - 1];
    }
    const int64_t first = c.at[0], end = int64_t{c.at[0]} + extent(map, 0), size = int64_t{map.last[0]} + 1;
    const int64_t from = std::clamp<int64_t>(first, 0, size), to = inside ? std::clamp<int64_t>(end, from, size) : from;
    if (to > from)
      fn(offset + static_cast<uint64_t>(from - first) * element, address + static_cast<uint64_t>(from) * element,
         static_cast<uint64_t>(to - from) * element);
    for (int d = 1; d < map.rank && ++index[d] == extent(map, d); d++) index[d] = 0;
  }
}

// Reports an access to a block's shared memory to the checks, in aligned pieces of at most 16 bytes.
void watch_shared(Warp& w, Block& block, uint64_t offset, uint64_t bytes, Access access, By by = By::async_proxy) {
  Monitor* m = w.block.launch.monitor.get();
  if (!m) return;
  uint64_t lanes[kLanes];
  for (uint64_t at = 0; at < bytes;) {
    uint32_t n = 0;
    for (; n < kLanes && at < bytes; n++, at += 16) lanes[n] = offset + at;
    const auto piece = static_cast<unsigned>(std::min<uint64_t>(16, bytes));
    m->access(w, Space::shared, *block.shadow, lanes, piece, access, n == kLanes ? kAllLanes : (1u << n) - 1, by);
  }
}

// Checks both sides when the copy is issued, so that faults are reported there. The accesses may happen at any time
// from then on.
void access_both(Warp& w, BulkCopy& c) {
  const Access writes = c.combine ? Access::atomic : Access::write;
  auto add = [&](uint64_t offset, uint64_t address, uint64_t bytes) {
    const Access access = c.to_shared ? Access::read : writes;
    c.pieces.push_back({resolve_one(w, Space::global, address, bytes, access, c.lane, By::async_proxy), offset, bytes});
  };
  if (c.tensor)
    each_row(c, add);
  else if (c.reads_shared)
    watch_shared(w, w.block, c.from_shared, c.bytes, Access::read);
  else if (!c.reads_registers && c.bytes > 0)
    add(0, c.global, c.bytes);
  const By by = c.reads_registers ? By::copy : By::async_proxy;
  for (Block* block : c.targets) watch_shared(w, *block, c.shared, c.bytes, c.to_shared ? writes : Access::read, by);
}

// Stores bytes at their destination, or combines them with its contents.
void put(const BulkCopy& c, std::byte* at, const std::byte* from, uint64_t bytes, bool exclusive) {
  if (!c.combine) {
    std::memcpy(at, from, bytes);
    return;
  }
  for (uint64_t i = 0; i < bytes; i += c.element) c.combine(at + i, from + i, exclusive);
}

// @throws DeviceFault
void check_form(Warp& w, BulkCopy& c) {
  auto misaligned = [&](const std::string& what) { fault(w, c.lane, FaultKind::misaligned_address, what); };
  if (c.tensor) {
    if (c.map.magic != kTensorMapMagic) fault(w, c.lane, FaultKind::illegal_address, "the operand is not a tensor map");
    if (c.map.interleave != TensorInterleave::none || c.map.swizzle > TensorSwizzle::bytes128)
      fault(w, c.lane, FaultKind::illegal_instruction, "interleaved tensors and this swizzle are not supported");
    c.bytes = box_bytes(c.map);
    static constexpr uint32_t widths[] = {0, 32, 64, 128};
    const uint32_t width = widths[static_cast<size_t>(c.map.swizzle)];
    if (width && extent(c.map, 0) * c.map.element_bits / 8 != width)
      fault(w, c.lane, FaultKind::illegal_instruction,
            "a box whose rows are narrower than the swizzle is not supported");
    if (c.shared % 128 != 0) misaligned("the box's address in shared memory is not a multiple of 128");
  } else if (c.reads_registers) {
    if (c.shared % c.bytes != 0) misaligned("the address is not a multiple of " + std::to_string(c.bytes));
  } else if ((c.bytes | c.shared | c.global | c.from_shared) % 16 != 0) {
    misaligned("addresses and the size must be multiples of 16");
  }
  for (Block* block : c.targets) {
    if (c.shared > block->shared_bytes || c.bytes > block->shared_bytes - c.shared)
      fault(w, c.lane, FaultKind::illegal_address,
            std::to_string(c.bytes) + " bytes of shared memory at " + std::to_string(c.shared) + ": the block has " +
                std::to_string(block->shared_bytes));
    if (c.to_shared && (c.mbarrier % 8 != 0 || c.mbarrier + 8 > block->shared_bytes))
      fault(w, c.lane, FaultKind::illegal_address, "the mbarrier object is outside shared memory");
  }
  if (c.reads_shared && c.from_shared + c.bytes > w.block.shared_bytes)
    fault(w, c.lane, FaultKind::illegal_address, "the source is outside shared memory");
}

}  // namespace

void BulkCopies::issue(Warp& w, BulkCopy&& c) {
  check_form(w, c);
  if (OpCounts* counts = w.current_counts()) counts->async_bytes += c.bytes * c.targets.size();
  if (Monitor* m = w.block.launch.monitor.get()) m->issued(w);
  access_both(w, c);
  const Completion when = w.block.launch.options.completion;
  const bool now = when == Completion::early || (when == Completion::random && w.block.cluster.random.below(4) == 0);
  if (now) return complete(w, c);
  if (c.to_shared && !c.combine)
    for (Block* block : c.targets) std::memset(block->shared.data() + c.shared, 0xff, c.bytes);
  pending_.push_back(std::move(c));
}

void BulkCopies::commit(Warp& w, uint32_t mask) {
  if (Monitor* m = w.block.launch.monitor.get()) {
    const uint32_t group = committed_[__builtin_ctz(mask)];
    times_.resize(std::max<size_t>(times_.size(), group + 1));
    times_[group] = m->copies_time(w);
  }
  for (int l = 0; l < kLanes; l++) committed_[l] += mask >> l & 1;
}

void BulkCopies::wait_group(Warp& w, uint32_t mask, uint32_t pending, bool only_read) {
  std::erase_if(pending_, [&](BulkCopy& c) {
    if (c.to_shared || !(mask >> c.lane & 1) || c.group + pending >= committed_[c.lane]) return false;
    if (only_read)
      read(c);
    else
      complete(w, c);
    return !only_read;
  });
  const uint32_t groups = committed_[__builtin_ctz(mask)];
  if (Monitor* m = w.block.launch.monitor.get(); m && groups > pending)
    m->waited_for_copies(w, times_[groups - pending - 1]);
}

bool BulkCopies::complete_all(Warp& w) {
  if (pending_.empty()) return false;
  std::vector<BulkCopy> all;
  all.swap(pending_);
  for (BulkCopy& c : all) complete(w, c);
  return true;
}

void BulkCopies::finish(Warp& w) {
  for (const BulkCopy& c : pending_)
    if (c.to_shared || !c.has_read)
      fault(w, c.lane, FaultKind::illegal_instruction,
            "the thread exits while a copy that was never waited for still needs shared memory");
  complete_all(w);
}

// A store reads its data from shared memory.
void BulkCopies::read(BulkCopy& c) {
  if (c.has_read) return;
  c.has_read = true;
  c.data.resize(c.bytes);
  Block& block = *c.targets[0];
  const std::byte* shared = block.shared.data();
  if (!c.tensor) {
    std::memcpy(c.data.data(), shared + c.shared, c.bytes);
    return;
  }
  for (uint64_t at = 0; at < c.bytes; at += 16)  // rows of a box are multiples of 16 bytes
    std::memcpy(c.data.data() + at, shared + swizzled(c.map.swizzle, c.shared + at), 16);
}

void BulkCopies::complete(Warp& w, BulkCopy& c) {
  if (!c.to_shared) {
    read(c);
    for (const auto& piece : c.pieces) put(c, piece.global, c.data.data() + piece.offset, piece.bytes, false);
    return;
  }
  if (!c.reads_registers) {
    c.data.assign(c.bytes, c.tensor && c.map.fill_nan ? std::byte{0xff} : std::byte{0});
    for (const auto& piece : c.pieces) std::memcpy(c.data.data() + piece.offset, piece.global, piece.bytes);
    if (c.reads_shared) std::memcpy(c.data.data(), w.block.shared.data() + c.from_shared, c.bytes);
  }
  for (Block* block : c.targets) {
    std::byte* shared = block->shared.data();
    for (uint64_t at = 0; at < c.bytes; at += 16)
      put(c, shared + (c.tensor ? swizzled(c.map.swizzle, c.shared + at) : c.shared + at), c.data.data() + at,
          std::min<uint64_t>(16, c.bytes - at), true);
    if (Monitor* m = w.block.launch.monitor.get())
      m->release(w, Monitor::location(*block->shadow, c.mbarrier), By::copy);
    mbarrier::transfer(w, c.lane, shared + c.mbarrier, -static_cast<int64_t>(c.bytes));
  }
}

}  // namespace vgpu
