// PTX ISA, "Parallel Synchronization and Communication Instructions" and "Data Movement": warp-level operations. The
// variants without .sync do not exist on sm_70 and later.
#include "instructions/convergence.h"
#include "instructions/list.h"

namespace vgpu {
namespace {

// --- shfl ------------------------------------------------------------------------------------------------------------

enum class Shuffle { up, down, bfly, idx };

// a: value; b: lane or distance; c: clamp and segment mask.
template <Shuffle S>
void run_shfl(Warp& w, const Op& op) {
  for_groups(w, op, Contribution::words, [&](const Group& g) {
    const auto* a = static_cast<const uint32_t*>(g.a);
    int32_t from[kLanes];
    uint32_t inside[kLanes];
    for (int l = 0; l < kLanes; l++) {
      const auto segment = static_cast<int32_t>(g.c[l] >> 8 & 31), clamp = static_cast<int32_t>(g.c[l] & 31),
                 distance = static_cast<int32_t>(g.b[l] & 31);
      const int32_t last = (l & segment) | (clamp & ~segment), first = l & segment;
      const int32_t j = S == Shuffle::up     ? l - distance
                        : S == Shuffle::down ? l + distance
                        : S == Shuffle::bfly ? l ^ distance
                                             : first | (distance & ~segment);
      inside[l] = S == Shuffle::up ? j >= last : j <= last;
      from[l] = (inside[l] ? j : l) & 31;
    }
    // The value of a lane outside the group is undefined: here all ones, a NaN.
    uint32_t r[kLanes];
    for (int l = 0; l < kLanes; l++) r[l] = a[from[l]];
    if (g.lanes != kAllLanes)
      for (int l = 0; l < kLanes; l++) r[l] = g.lanes >> from[l] & 1 ? r[l] : 0xffffffffu;
    commit(g.d, r, g.lanes);
    if (g.p) g.set_predicate(lane_mask(inside));
  });
}

// Binds d, or d|p with the optional predicate.
void write_pair(Decoding& i, Type t) {
  const Operand& d = i.operand(0);
  const bool pair = d.kind == Operand::Kind::pair;
  i.op().d = i.write(pair ? d.parts[0] : d, t);
  if (pair) i.append(i.write_predicate(d.parts[1]));
}

void shfl(Decoding& i) {
  i.one_of({"sync"});
  const int mode = i.one_of({"up", "down", "bfly", "idx"});
  i.type({Type::b32});
  i.expect(5);
  i.op().a = i.read(1, Type::b32);
  i.op().b = i.read(2, Type::b32);
  i.op().c = i.read(3, Type::b32);
  i.op().e = i.read(4, Type::b32);
  write_pair(i, Type::b32);
  static constexpr Handler table[] = {run_shfl<Shuffle::up>, run_shfl<Shuffle::down>, run_shfl<Shuffle::bfly>,
                                      run_shfl<Shuffle::idx>};
  i.run(table[mode], OpClass::warp);
}

// --- vote, match, redux ----------------------------------------------------------------------------------------------

// Stores the same result for all lanes.
template <class T>
void fill(const Group& g, T value) {
  uint32_t r[kLanes];
  for (uint32_t& x : r) x = static_cast<uint32_t>(value);
  commit(g.d, r, g.lanes);
}

enum class Vote { all, any, uni, ballot };

template <Vote V>
void run_vote(Warp& w, const Op& op) {
  for_groups(w, op, Contribution::votes, [&](const Group& g) {
    if constexpr (V == Vote::ballot)
      fill(g, g.votes);
    else
      g.set_predicate((V == Vote::all   ? g.votes == g.lanes
                       : V == Vote::any ? g.votes != 0
                                        : g.votes == 0 || g.votes == g.lanes)
                          ? kAllLanes
                          : 0);
  });
}

void vote(Decoding& i) {
  i.one_of({"sync"});
  const int mode = i.one_of({"all", "any", "uni", "ballot"});
  i.type({mode == 3 ? Type::b32 : Type::pred});
  i.expect(3);
  bool negated = false;
  i.op().a = i.read_predicate(i.operand(1), negated);
  i.op().e = i.read(2, Type::b32);
  if (mode == 3)
    i.op().d = i.write(0, Type::b32);
  else
    i.append(i.write_predicate(i.operand(0)));
  i.op().flags = negated ? kNegatedVote : 0;
  static constexpr Handler table[] = {run_vote<Vote::all>, run_vote<Vote::any>, run_vote<Vote::uni>,
                                      run_vote<Vote::ballot>};
  i.run(table[mode], OpClass::warp);
}

template <class T, bool All>
void run_match(Warp& w, const Op& op) {
  for_groups(w, op, sizeof(T) == 8 ? Contribution::long_words : Contribution::words, [&](const Group& g) {
    const auto* a = static_cast<const T*>(g.a);
    auto equal_to = [&](T value) {
      uint32_t same = 0;
      for (int l = 0; l < kLanes; l++) same |= static_cast<uint32_t>(a[l] == value) << l;
      return same & g.lanes;
    };
    if (All) {
      const bool all = equal_to(a[__builtin_ctz(g.lanes)]) == g.lanes;
      fill(g, all ? g.lanes : 0);
      g.set_predicate(all ? kAllLanes : 0);
    } else {
      uint32_t r[kLanes];
      for (int l = 0; l < kLanes; l++) r[l] = equal_to(a[l]);
      commit(g.d, r, g.lanes);
    }
  });
}

void match(Decoding& i) {
  const bool all = i.one_of({"any", "all"}) == 1;
  i.one_of({"sync"});
  const Type t = i.type({Type::b32, Type::b64});
  i.expect(3);
  i.op().a = i.read(1, t);
  i.op().e = i.read(2, Type::b32);
  if (all)
    write_pair(i, Type::b32);
  else
    i.op().d = i.write(0, Type::b32);
  const bool wide = t == Type::b64;
  i.run(all ? (wide ? run_match<uint64_t, true> : run_match<uint32_t, true>)
            : (wide ? run_match<uint64_t, false> : run_match<uint32_t, false>),
        OpClass::warp);
}

enum class Reduction { add, min, max, bit_and, bit_or, bit_xor };

template <class T, Reduction R>
void run_redux(Warp& w, const Op& op) {
  for_groups(w, op, Contribution::words, [&](const Group& g) {
    const auto* a = static_cast<const T*>(g.a);
    T r = a[__builtin_ctz(g.lanes)];
    for (uint32_t left = g.lanes & (g.lanes - 1); left; left &= left - 1) {
      const T v = a[__builtin_ctz(left)];
      if constexpr (R == Reduction::add)
        r = static_cast<T>(static_cast<uint32_t>(r) + static_cast<uint32_t>(v));
      else if constexpr (R == Reduction::min)
        r = v < r ? v : r;
      else if constexpr (R == Reduction::max)
        r = v > r ? v : r;
      else if constexpr (R == Reduction::bit_and)
        r &= v;
      else if constexpr (R == Reduction::bit_or)
        r |= v;
      else
        r ^= v;
    }
    fill(g, r);
  });
}

void redux(Decoding& i) {
  i.one_of({"sync"});
  const int which = i.one_of({"add", "min", "max", "and", "or", "xor"});
  const Type t = which < 3 ? i.type({Type::u32, Type::s32}) : i.type({Type::b32});
  i.expect(3);
  i.op().a = i.read(1, t);
  i.op().e = i.read(2, Type::b32);
  i.op().d = i.write(0, t);
  using R = Reduction;
  static constexpr Handler of_unsigned[] = {run_redux<uint32_t, R::add>,    run_redux<uint32_t, R::min>,
                                            run_redux<uint32_t, R::max>,    run_redux<uint32_t, R::bit_and>,
                                            run_redux<uint32_t, R::bit_or>, run_redux<uint32_t, R::bit_xor>};
  static constexpr Handler of_signed[] = {run_redux<int32_t, R::add>, run_redux<int32_t, R::min>,
                                          run_redux<int32_t, R::max>};
  i.run(t == Type::s32 ? of_signed[which] : of_unsigned[which], OpClass::warp);
}

// --- activemask, elect -----------------------------------------------------------------------------------------------

void run_activemask(Warp& w, const Op& op) {
  uint32_t r[kLanes];
  for (uint32_t& x : r) x = w.mask;
  commit(w.lanes<uint32_t>(op.d), r, w.mask);
}

void activemask(Decoding& i) {
  i.type({Type::b32});
  i.expect(1);
  i.op().d = i.write(0, Type::b32);
  i.run(run_activemask, OpClass::warp);
}

// The ISA leaves open which lane is elected, but it must always be the same one for a membermask.
void run_elect(Warp& w, const Op& op) {
  for_groups(w, op, Contribution::none, [&](const Group& g) {
    const int leader = __builtin_ctz(g.lanes);
    fill(g, leader);
    g.set_predicate(1u << leader);
  });
}

void elect(Decoding& i) {
  i.needs(90);
  i.one_of({"sync"});
  i.expect(2);
  if (i.operand(0).kind != Operand::Kind::pair) i.fail("the result is d|p");
  i.op().e = i.read(1, Type::b32);
  write_pair(i, Type::b32);
  i.run(run_elect, OpClass::warp);
}

}  // namespace

std::span<const Opcode> warp_opcodes() {
  static const Opcode table[] = {{"activemask", activemask}, {"elect", elect}, {"match", match},
                                 {"redux", redux},           {"shfl", shfl},   {"vote", vote}};
  return table;
}

}  // namespace vgpu
