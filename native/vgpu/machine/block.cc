#include "machine/block.h"

#include <algorithm>

namespace vgpu {
namespace {

constexpr uint64_t kCopyRounds = 4096;  // rounds over all warps
constexpr int64_t kQuantum = 20'000;    // instructions of a warp before the next warp's turn

// Fails if copies still target the shared memory of a block that has ended.
void check_copies(const Block& block) {
  for (const auto& warp : block.warps) {
    warp->bulk.finish(*warp);
    const AsyncCopies::Copy* copy = warp->copies.first_copy();
    if (!copy) continue;
    Report report{FaultKind::illegal_instruction, "memcheck",
                  "the block ends while cp.async copies that were never waited for are in flight; the first is at "
                  "PTX line " +
                      std::to_string(copy->line),
                  block.launch.kernel.name};
    std::copy(block.id.begin(), block.id.end(), report.block);
    block.thread_of(warp->index, static_cast<uint32_t>(__builtin_ctz(copy->mask)), report.thread);
    throw DeviceFault{std::move(report)};
  }
}

}  // namespace

Block::Block(Launch& launch, Cluster& cluster, std::array<uint32_t, 3> id, uint32_t rank)
    : launch(launch), cluster(cluster), id(id), rank(rank), threads(launch.shape.threads()) {
  const Routine& kernel = launch.kernel;
  const uint32_t alignment = kernel.shared_alignment;
  const uint32_t dynamic = launch.shape.dynamic_shared;
  shared_bytes = kernel.reserved_shared;
  shared_bytes +=
      dynamic > 0 ? (kernel.shared_bytes + alignment - 1) / alignment * alignment + dynamic : kernel.shared_bytes;
  shared.resize(shared_bytes, std::byte{0xff});
  if (launch.monitor) shadow = std::make_unique<Shadow>(shared_bytes);
  if (kernel.reserved_shared > 0) {
    // Cooperative groups expect their barriers in reserved memory to be 0; they do not initialise them.
    std::fill_n(shared.begin(), kernel.reserved_shared, std::byte{0});
    if (shadow) shadow->set_written(0, kernel.reserved_shared);
  }
  for (uint32_t first = 0; first < threads; first += kLanes)
    warps.push_back(std::make_unique<Warp>(*this, first / kLanes, std::min<uint32_t>(kLanes, threads - first)));
}

void Block::thread_of(uint32_t warp, uint32_t lane, uint32_t (&out)[3]) const {
  const LaunchShape& shape = launch.shape;
  const uint32_t thread = warp * kLanes + lane;
  out[0] = thread % shape.block[0];
  out[1] = thread / shape.block[0] % shape.block[1];
  out[2] = thread / shape.block[0] / shape.block[1];
}

Cluster::Cluster(Launch& launch, uint64_t index, Counters* counters)
    : launch(launch), index(index), counters(counters), random(launch.options.seed * 0x100000001b3ull + index) {
  const LaunchShape& shape = launch.shape;
  uint64_t remaining = index;
  for (size_t i = 0; i < 3; i++) {
    const uint32_t across = shape.grid[i] / shape.cluster[i];
    id[i] = static_cast<uint32_t>(remaining % across);
    remaining /= across;
  }
  for (uint32_t rank = 0; rank < shape.cluster_blocks(); rank++) {
    const uint32_t x = rank % shape.cluster[0], y = rank / shape.cluster[0] % shape.cluster[1],
                   z = rank / shape.cluster[0] / shape.cluster[1];
    const std::array<uint32_t, 3> block{id[0] * shape.cluster[0] + x, id[1] * shape.cluster[1] + y,
                                        id[2] * shape.cluster[2] + z};
    blocks.push_back(std::make_unique<Block>(launch, *this, block, rank));
    for (const auto& warp : blocks.back()->warps) order_.push_back(warp.get());
  }
}

ClusterState Cluster::run(int64_t& budget) {
  for (;;) {
    bool progress = false;
    std::erase_if(order_, [](const Warp* w) { return w->done(); });
    if (order_.empty()) {
      for (auto& block : blocks) check_copies(*block);
      return ClusterState::done;
    }
    if (budget <= 0 || launch.stop.load(std::memory_order_relaxed)) return ClusterState::running;
    if (shuffled())
      for (size_t i = order_.size(); i > 1; i--)
        std::swap(order_[i - 1], order_[random.below(static_cast<uint32_t>(i))]);
    size_t turns = 0;
    for (; turns < order_.size() && budget > 0; turns++) {
      Warp* const warp = order_[turns];
      int64_t left = std::min(shuffled() ? int64_t{1} << random.below(10) : kQuantum, budget);
      const int64_t granted = left;
      try {
        progress = warp->run(left) != WarpState::waiting || progress;
      } catch (DeviceFault& fault) {
        locate(*warp, fault.report);
        throw;
      }
      budget -= granted - left;
    }
    // A spinning warp uses up the rest of the budget, so the next round begins with the warps after it.
    std::rotate(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(turns), order_.end());
    // Copies complete late, but no later than when all warps wait, and eventually even if some thread spins.
    if ((!progress || ++rounds_ % kCopyRounds == 0) && complete_copies()) continue;
    if (!progress) return ClusterState::waiting;
  }
}

bool Cluster::complete_copies() {
  bool any = false;
  for (auto& block : blocks)
    for (auto& warp : block->warps) any = warp->copies.complete_all(*warp) | warp->bulk.complete_all(*warp) || any;
  return any;
}

std::string Cluster::whereabouts() const {
  std::string text;
  size_t shown = 0;
  for (const auto& block : blocks)
    for (const auto& warp : block->warps)
      for (const Split& split : warp->splits()) {
        if (++shown > 64) return text + "\n  …";
        const Routine& routine = *split.frame->routine;
        char lanes[16];
        std::snprintf(lanes, sizeof lanes, "%08x", split.mask);
        text += "\n  block (" + std::to_string(block->id[0]) + "," + std::to_string(block->id[1]) + "," +
                std::to_string(block->id[2]) + ") warp " + std::to_string(warp->index) + " lanes " + lanes + " at " +
                routine.texts[split.pc] + ", PTX line " + std::to_string(routine.lines[split.pc]);
      }
  return text;
}

void locate(const Warp& warp, Report& report) {
  const Block& block = warp.block;
  const Program& program = block.launch.program;
  report.kernel = block.launch.kernel.name;
  std::copy(block.id.begin(), block.id.end(), report.block);
  const int lane = warp.fault_lane >= 0 ? warp.fault_lane : warp.mask ? __builtin_ctz(warp.mask) : 0;
  block.thread_of(warp.index, static_cast<uint32_t>(lane), report.thread);
  const Op* op = warp.current_op();
  for (const auto& r : program.routines) {
    if (!op || op < r->ops.data() || op >= r->ops.data() + r->ops.size()) continue;
    const auto index = static_cast<size_t>(op - r->ops.data());
    report.instruction = r->texts[index];
    report.ptx_line = r->lines[index];
    for (int32_t location = r->locations[index]; location >= 0;
         location = program.module.locations[static_cast<size_t>(location)].inlined_at) {
      const SourceLocation& p = program.module.locations[static_cast<size_t>(location)];
      if (p.line > 0 && p.file < program.module.files.size())
        report.source.push_back(program.module.files[p.file] + ":" + std::to_string(p.line));
      if (report.source.size() > 32) break;
    }
  }
}

}  // namespace vgpu
