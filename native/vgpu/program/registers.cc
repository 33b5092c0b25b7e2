#include "program/registers.h"

#include <algorithm>
#include <queue>

namespace vgpu {
namespace {

struct Interval {
  uint32_t begin = UINT32_MAX, end = 0;
  void cover(uint32_t p) {
    begin = std::min(begin, p);
    end = std::max(end, p);
  }
};

struct BasicBlock {
  uint32_t begin, end;  // indices of ops
  std::vector<uint32_t> next;
  size_t first_use, last_use;
};

class BitSet {
 public:
  explicit BitSet(size_t bits) : words_((bits + 63) / 64) {}
  void set(size_t i) { words_[i / 64] |= uint64_t{1} << i % 64; }
  void clear(size_t i) { words_[i / 64] &= ~(uint64_t{1} << i % 64); }
  void unite(const BitSet& other) {
    for (size_t i = 0; i < words_.size(); i++) words_[i] |= other.words_[i];
  }
  bool operator==(const BitSet&) const = default;
  template <class F>
  void each(F&& f) const {
    for (size_t w = 0; w < words_.size(); w++)
      for (uint64_t word = words_[w]; word; word &= word - 1) f(w * 64 + static_cast<size_t>(__builtin_ctzll(word)));
  }

 private:
  std::vector<uint64_t> words_;
};

std::vector<BasicBlock> cut_blocks(const RegisterFlow& flow) {
  std::vector<bool> leader(flow.ops + 1, false);
  leader[0] = true;
  for (const auto& jump : flow.jumps) {
    leader[jump.target] = true;
    leader[jump.op + 1] = true;
  }
  for (uint32_t i = 0; i < flow.ops; i++)
    if (flow.ends[i]) leader[i + 1] = true;
  std::vector<BasicBlock> blocks;
  std::vector<uint32_t> block_of(flow.ops + 1, 0);
  for (uint32_t i = 0; i < flow.ops; i++) {
    if (leader[i]) blocks.push_back({i, i, {}, 0, 0});
    blocks.back().end = i + 1;
    block_of[i] = static_cast<uint32_t>(blocks.size()) - 1;
  }
  for (const auto& jump : flow.jumps)
    if (jump.target < flow.ops) blocks[block_of[jump.op]].next.push_back(block_of[jump.target]);
  for (size_t b = 0; b + 1 < blocks.size(); b++)
    if (!flow.ends[blocks[b].end - 1]) blocks[b].next.push_back(static_cast<uint32_t>(b) + 1);
  size_t use = 0;
  for (auto& block : blocks) {
    block.first_use = use;
    while (use < flow.uses.size() && flow.uses[use].op < block.end) use++;
    block.last_use = use;
  }
  return blocks;
}

// Turns the set of registers live after a block into the set live before it.
void go_up(const RegisterFlow& flow, const BasicBlock& block, BitSet& live) {
  for (size_t u = block.last_use; u-- > block.first_use;) {
    // An op reads before it writes, so going backwards its writes are undone first.
    const uint32_t op = flow.uses[u].op;
    size_t first = u;
    while (first > block.first_use && flow.uses[first - 1].op == op) first--;
    for (size_t i = first; i <= u; i++)
      if (flow.uses[i].write) live.clear(flow.uses[i].reg);
    for (size_t i = first; i <= u; i++)
      if (!flow.uses[i].write) live.set(flow.uses[i].reg);
    u = first;
  }
}

// The interval in which each register is live. An op takes two steps: it reads in the first and writes in the second.
std::vector<Interval> live_intervals(const RegisterFlow& flow, size_t count) {
  std::vector<Interval> live(count);
  if (flow.ops == 0) return live;
  // Iterate backwards over the blocks until the registers live at the beginning of each no longer change.
  const auto blocks = cut_blocks(flow);
  std::vector<BitSet> at_begin(blocks.size(), BitSet(count));
  auto after = [&](const BasicBlock& block) {
    BitSet set(count);
    for (uint32_t n : block.next) set.unite(at_begin[n]);
    return set;
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t b = blocks.size(); b-- > 0;) {
      BitSet set = after(blocks[b]);
      go_up(flow, blocks[b], set);
      if (set == at_begin[b]) continue;
      at_begin[b] = std::move(set);
      changed = true;
    }
  }
  for (size_t b = 0; b < blocks.size(); b++) {
    at_begin[b].each([&](size_t reg) { live[reg].cover(2 * blocks[b].begin); });
    after(blocks[b]).each([&](size_t reg) { live[reg].cover(2 * blocks[b].end); });
  }
  // A result never shares a slot with an operand of the same instruction.
  for (const auto& use : flow.uses) {
    live[use.reg].cover(2 * use.op);
    live[use.reg].cover(2 * use.op + 1);
  }
  return live;
}

}  // namespace

std::vector<uint32_t> pack_registers(const RegisterFlow& flow, const std::vector<RegisterClass>& classes,
                                     uint32_t begin, uint32_t& end) {
  std::vector<uint32_t> slot(classes.size(), 0);
  const std::vector<Interval> live = live_intervals(flow, classes.size());
  std::vector<uint32_t> order;
  for (uint32_t r = 0; r < classes.size(); r++)
    if (live[r].begin != UINT32_MAX) order.push_back(r);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return live[a].begin < live[b].begin; });

  end = begin;
  for (int c = 0; c < 5; c++) {
    const uint32_t bytes = kRegisterBytes[c];
    end = (end + bytes - 1) / bytes * bytes;
    using Busy = std::pair<uint32_t, uint32_t>;  // end of the interval, slot
    std::priority_queue<Busy, std::vector<Busy>, std::greater<>> busy;
    std::vector<uint32_t> free;
    for (uint32_t r : order) {
      if (static_cast<int>(classes[r]) != c) continue;
      while (!busy.empty() && busy.top().first < live[r].begin) {
        free.push_back(busy.top().second);
        busy.pop();
      }
      if (free.empty()) {
        free.push_back(end);
        end += bytes;
      }
      slot[r] = free.back();
      free.pop_back();
      busy.push({live[r].end, slot[r]});
    }
  }
  end = (end + 63) / 64 * 64;
  return slot;
}

}  // namespace vgpu
