#include "check/monitor.h"

#include <cstdio>

#include "machine/block.h"

namespace vgpu {
namespace {

const char* space_text(Space space) { return space == Space::shared ? "shared" : "global"; }

constexpr uint16_t kWholeCell = 0xffff;

// Event::instruction is the routine's number above these bits and the index of its op below.
constexpr uint32_t kRoutineShift = 20;

// True for the aligned power-of-two accesses that registers make.
bool inside_cell(uint64_t offset, unsigned bytes) {
  return (bytes & (bytes - 1)) == 0 && bytes <= 16 && (offset & (bytes - 1)) == 0;
}

bool whole_written(const Shadow& shadow, uint64_t offset, unsigned bytes) {
  if (inside_cell(offset, bytes)) return shadow.written(offset, bytes);
  for (unsigned i = 0; i < bytes; i++)
    if (!shadow.written(offset + i, 1)) return false;
  return true;
}

}  // namespace

Monitor::Monitor(Launch& launch, Checks checks, uint32_t launch_number)
    : launch_(launch), checks_(checks), number_(launch_number) {
  warps_per_block_ = (launch.shape.threads() + kLanes - 1) / kLanes;
  agents_per_cluster_ = kAgents * warps_per_block_ * launch.shape.cluster_blocks();
}

uint64_t Monitor::barrier_object(const Block& block, uint32_t barrier, uint64_t phase) {
  const auto& grid = block.launch.shape.grid;
  const uint64_t linear = block.id[0] + uint64_t{grid[0]} * (block.id[1] + uint64_t{grid[1]} * block.id[2]);
  return uint64_t{1} << 63 | linear << 24 | uint64_t{barrier} << 16 | (phase & 0xffff);
}

Agent Monitor::agent_of(const Warp& w, By by) const {
  const Block& block = w.block;
  return static_cast<Agent>(block.cluster.index * agents_per_cluster_ +
                            kAgents * (block.rank * warps_per_block_ + w.index) + (by != By::warp));
}

WarpClocks& Monitor::clock_of(Warp& w) {
  WarpClocks& c = w.clocks;
  if (!c.ready) {
    const auto first = static_cast<Agent>(w.block.cluster.index * agents_per_cluster_);
    c.warp = VectorClock(first, agents_per_cluster_);
    c.copies = VectorClock(first, agents_per_cluster_);
    c.warp.set(agent_of(w, By::warp), 1);
    c.copies.set(agent_of(w, By::copy), 1);
    c.ready = true;
  }
  return c;
}

// --- synchronisation -------------------------------------------------------------------------------------------------

void Monitor::release(Warp& w, uint64_t object, By by) {
  if (!checks_.racecheck) return;
  WarpClocks& c = clock_of(w);
  VectorClock& clock = by == By::warp ? c.warp : c.copies;
  const Agent agent = agent_of(w, by);
  {
    const std::lock_guard lock(mutex_);
    objects_[object].join(clock);
  }
  clock.set(agent, clock.of(agent) + 1);  // later actions are not part of this release
}

void Monitor::acquire(Warp& w, uint64_t object) {
  if (!checks_.racecheck) return;
  WarpClocks& c = clock_of(w);
  const std::lock_guard lock(mutex_);
  const auto found = objects_.find(object);
  if (found != objects_.end()) c.warp.join(found->second);
}

void Monitor::forget(uint64_t object) {
  const std::lock_guard lock(mutex_);
  objects_.erase(object);
}

void Monitor::fence_proxies(Warp& w) {
  if (!checks_.racecheck) return;
  VectorClock& clock = clock_of(w).warp;
  const VectorClock snapshot = clock;
  snapshot.each([&](Agent agent, uint32_t time) { clock.raise(as_proxy_sees(agent), time); });
}

void Monitor::issued(Warp& w) {
  WarpClocks& c = clock_of(w);
  c.copies.join(c.warp);
}

uint32_t Monitor::copies_time(Warp& w) {
  WarpClocks& c = clock_of(w);
  const Agent agent = agent_of(w, By::copy);
  const uint32_t time = c.copies.of(agent);
  c.copies.set(agent, time + 1);
  return time;
}

void Monitor::waited_for_copies(Warp& w, const Warp& issuer, uint32_t time) {
  WarpClocks& c = clock_of(w);
  const Agent agent = agent_of(issuer, By::copy);
  if (c.warp.of(agent) < time) c.warp.set(agent, time);
}

// --- accesses --------------------------------------------------------------------------------------------------------

void Monitor::access(Warp& w, Space space, Shadow& shadow, const uint64_t (&offset)[kLanes], unsigned bytes,
                     Access access, uint32_t mask, By by) {
  const bool writes = access != Access::read && access != Access::ordered_read;
  const bool reads = access == Access::read || access == Access::ordered_read || access == Access::atomic;
  const bool atomic = access == Access::atomic || access == Access::ordered_read || access == Access::ordered_write;
  WarpClocks& c = clock_of(w);
  const Agent agent = agent_of(w, by);
  const bool acquires = access == Access::atomic || access == Access::ordered_read;
  const bool releases = access == Access::atomic || access == Access::ordered_write;
  auto object_at = [&](uint64_t at) { return location(shadow, at); };
  if (acquires)
    for (uint32_t left = mask; left; left &= left - 1) acquire(w, object_at(offset[__builtin_ctz(left)]));
  const uint32_t time = (by == By::warp ? c.warp : c.copies).of(agent);
  if (checks_.initcheck) {
    for (uint32_t left = reads ? mask : 0; left; left &= left - 1) {
      const int lane = __builtin_ctz(left);
      if (!whole_written(shadow, offset[lane], bytes)) report_unwritten(w, space, offset[lane], bytes, lane);
    }
    for (uint32_t left = writes ? mask : 0; left; left &= left - 1)
      shadow.set_written(offset[__builtin_ctz(left)], bytes);
  }
  if (!checks_.racecheck) return;
  const Event now{agent, time, instruction_of(w), 0, 0, by, atomic};
  {
    std::unique_lock<std::mutex> lock;
    if (space != Space::shared) lock = std::unique_lock(shadow.mutex);
    writes ? check_races<true>(w, space, shadow, offset, bytes, mask, now)
           : check_races<false>(w, space, shadow, offset, bytes, mask, now);
  }
  if (releases)
    for (uint32_t left = mask; left; left &= left - 1) release(w, object_at(offset[__builtin_ctz(left)]), by);
}

void Monitor::report_unwritten(Warp& w, Space space, uint64_t offset, unsigned bytes, int lane) {
  w.fault_lane = lane;
  throw DeviceFault{{FaultKind::illegal_instruction,
                     "initcheck",
                     std::string(space_text(space)) + " read of " + std::to_string(bytes) + " bytes at offset " +
                         std::to_string(offset) + " of " +
                         (space == Space::shared ? "shared memory" : "the allocation") +
                         ", which has never been written",
                     {}}};
}

template <bool kWrites>
void Monitor::check_races(Warp& w, Space space, Shadow& shadow, const uint64_t (&offset)[kLanes], unsigned bytes,
                          uint32_t mask, Event now) {
  for (uint32_t left = mask; left; left &= left - 1) __builtin_prefetch(&shadow.cell(offset[__builtin_ctz(left)]));
  uint64_t cell = 0;
  for (uint32_t left = mask; left; left &= left - 1) {
    const int lane = __builtin_ctz(left);
    const uint64_t begin = offset[lane], end = begin + bytes;
    for (uint64_t in = begin & ~uint64_t{15}; in < end; in += 16) {
      uint32_t bits = kWholeCell;
      if (begin > in) bits &= bits << (begin - in);
      if (end < in + 16) bits &= bits >> (in + 16 - end);
      // Neighbouring lanes usually share a cell.
      if (in != cell && now.bytes) {
        check_race<kWrites>(w, space, shadow, cell, now);
        now.bytes = 0;
      }
      if (now.bytes == 0) now.lane = static_cast<uint8_t>(lane);
      cell = in;
      now.bytes |= static_cast<uint16_t>(bits);
    }
  }
  check_race<kWrites>(w, space, shadow, cell, now);
}

template <bool kWrites>
void Monitor::check_race(Warp& w, Space space, Shadow& shadow, uint64_t offset, const Event& now) {
  Cell& cell = shadow.cell(offset);
  if (cell.launch != number_) {
    cell.launch = number_;
    cell.writes.clear();
    cell.reads.clear();
  }
  // Usually the warp has accessed the cell since it last synchronised.
  const Event* last = kWrites ? cell.writes.last() : cell.reads.last();
  if (last && last->agent == now.agent && last->time == now.time && last->by == now.by && last->atomic == now.atomic &&
      (now.bytes & ~last->bytes) == 0 && (!kWrites || cell.reads.count() == 0))
    return;

  const VectorClock& clock = now.by == By::warp ? w.clocks.warp : w.clocks.copies;
  auto ordered = [&](const Event& before) {
    // racecheck does not distinguish the lanes of a warp
    if (before.agent == now.agent && before.by == now.by) return true;
    // After ordinary accesses the asynchronous proxy needs a fence.
    const bool fenced = now.by != By::async_proxy || before.by == By::async_proxy ||
                        clock.of(as_proxy_sees(before.agent)) >= before.time;
    if (fenced && clock.of(before.agent) >= before.time) return true;
    return !(before.bytes & now.bytes) || (before.atomic && now.atomic);
  };
  cell.writes.each(shadow.pool, [&](const Event& before) {
    if (!ordered(before)) report(w, space, kWrites ? "two writes" : "a write and a read", offset, before, now);
  });
  if (!kWrites) {
    // Reads ordered before this one are covered by it: an access ordered after this read is ordered after them too.
    cell.reads.add(shadow.pool, now, [&](const Event& e) {
      return e.by == now.by && (e.atomic || !now.atomic) && (e.agent == now.agent || clock.of_own(e.agent) >= e.time);
    });
    return;
  }
  cell.reads.each(shadow.pool, [&](const Event& before) {
    if (!ordered(before)) report(w, space, "a read and a write", offset, before, now);
  });
  if (now.bytes == kWholeCell && !now.atomic) {
    cell.reads.clear();
    cell.writes.clear();
  } else {
    cell.reads.remove(shadow.pool, now.bytes, [&](const Event& e) { return !(e.atomic && now.atomic); });
    cell.writes.remove(shadow.pool, now.bytes, [](const Event&) { return true; });
  }
  cell.writes.add(shadow.pool, now, [](const Event&) { return false; });
}

uint32_t Monitor::instruction_of(const Warp& w) const {
  const Routine& routine = *w.splits()[w.current()].frame->routine;
  return routine.number << kRoutineShift | static_cast<uint32_t>(w.current_op() - routine.ops.data());
}

void Monitor::report(Warp& w, Space space, const char* hazard, uint64_t offset, const Event& before, const Event& now) {
  const Routine& routine = *launch_.program.routines[before.instruction >> kRoutineShift];
  const uint32_t op = before.instruction & ((1u << kRoutineShift) - 1);
  const uint32_t per_block = kAgents * warps_per_block_;
  const uint32_t block = before.agent / per_block, warp = before.agent % per_block / kAgents;
  w.fault_lane = now.lane;
  std::string location = routine.texts[op] + ", PTX line " + std::to_string(routine.lines[op]);
  if (const int32_t p = routine.locations[op]; p >= 0) {
    const SourceLocation& source = launch_.program.module.locations[static_cast<size_t>(p)];
    if (source.file < launch_.program.module.files.size())
      location += " (" + launch_.program.module.files[source.file] + ":" + std::to_string(source.line) + ")";
  }
  throw DeviceFault{{FaultKind::illegal_instruction,
                     "racecheck",
                     std::string(hazard) + " of " + space_text(space) + " memory at offset " +
                         std::to_string(offset + static_cast<uint64_t>(__builtin_ctz(before.bytes & now.bytes))) +
                         " are not ordered: the first is by block " + std::to_string(block) + " warp " +
                         std::to_string(warp) + " lane " + std::to_string(before.lane) +
                         (before.by == By::warp   ? ""
                          : before.by == By::copy ? " (a copy that it issued)"
                                                  : " (asynchronous proxy)") +
                         " at " + location,
                     {}}};
}

}  // namespace vgpu
