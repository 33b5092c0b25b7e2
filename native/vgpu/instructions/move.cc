// PTX ISA, "Data Movement and Conversion Instructions": mov, prmt, cvta, isspacep, prefetch and cache control.
#include "instructions/lanes.h"
#include "instructions/list.h"
#include "machine/address.h"
#include "machine/block.h"
#include "machine/launch.h"

namespace vgpu {
namespace {

struct Same {
  template <class T>
  static T apply(T a) {
    return a;
  }
};

Handler copy_of(unsigned bytes) {
  return bytes == 2   ? unary<uint16_t, uint16_t, Same>
         : bytes == 4 ? unary<uint32_t, uint32_t, Same>
                      : unary<uint64_t, uint64_t, Same>;
}

void move_predicate(Warp& w, const Op& op) {
  w.set_predicate(op.d, w.predicate(op.a) ^ (op.flags & 1 ? kAllLanes : 0));
}

// Packs {a, b, …} into one register, the first in the lowest bits.
template <class Whole, class Part>
void pack(Warp& w, const Op& op) {
  const uint32_t* slots = w.split().frame->routine->lists.data() + op.list;
  constexpr int n = sizeof(Whole) / sizeof(Part);
  Whole r[kLanes] = {};
  for (int i = 0; i < n; i++) {
    const Part* part = w.lanes<const Part>(slots[i]);
    for (int l = 0; l < kLanes; l++)
      r[l] |= static_cast<Whole>(static_cast<Whole>(part[l]) << (8 * sizeof(Part) * static_cast<size_t>(i)));
  }
  commit(w.lanes<Whole>(op.d), r, w.mask);
}

template <class Whole, class Part>
void unpack(Warp& w, const Op& op) {
  const uint32_t* slots = w.split().frame->routine->lists.data() + op.list;
  constexpr int n = sizeof(Whole) / sizeof(Part);
  const Whole* a = w.lanes<const Whole>(op.a);
  for (int i = 0; i < n; i++) {
    Part r[kLanes];
    for (int l = 0; l < kLanes; l++) r[l] = static_cast<Part>(a[l] >> (8 * sizeof(Part) * static_cast<size_t>(i)));
    commit(w.lanes<Part>(slots[i]), r, w.mask);
  }
}

// --- clocks ----------------------------------------------------------------------------------------------------------
// Every read of a clock advances it: nothing else here takes time, and code that waits for a time must see it come.

enum class Clock : uint8_t { low, high, whole };
template <class T>
void read_clock(Warp& w, const Op& op) {
  w.clock += static_cast<uint64_t>(op.imm);
  const auto now = static_cast<T>(op.flags == static_cast<uint8_t>(Clock::high) ? w.clock >> 32 : w.clock);
  assign(w.lanes<T>(op.d), w.mask, [=](int) { return now; });
}

// Decodes the move if the operand is one of the special registers that change.
bool decode_clock(Decoding& i, Type t) {
  struct Row {
    std::string_view name;
    Clock part;
    int64_t step;
  };
  constexpr int64_t kCycles = 32, kNanoseconds = 1024;
  static constexpr Row rows[] = {{"%clock", Clock::low, kCycles},
                                 {"%clock_hi", Clock::high, kCycles},
                                 {"%clock64", Clock::whole, kCycles},
                                 {"%globaltimer_lo", Clock::low, kNanoseconds},
                                 {"%globaltimer_hi", Clock::high, kNanoseconds},
                                 {"%globaltimer", Clock::whole, kNanoseconds}};
  const Operand& from = i.operand(1);
  if (from.kind != Operand::Kind::name) return false;
  for (const Row& row : rows) {
    if (row.name != from.name) continue;
    if (bytes_of(t) != (row.part == Clock::whole ? 8u : 4u)) i.fail(std::string(row.name) + " has a different width");
    i.op().flags = static_cast<uint8_t>(row.part);
    i.op().imm = row.step;
    i.op().d = i.write(0, t);
    i.run(row.part == Clock::whole ? read_clock<uint64_t> : read_clock<uint32_t>, OpClass::move);
    return true;
  }
  return false;
}

using Wide = unsigned __int128;

void mov(Decoding& i) {
  const Type t = i.type({Type::pred, Type::b16, Type::b32, Type::b64, Type::b128, Type::u16, Type::u32, Type::u64,
                         Type::s16, Type::s32, Type::s64, Type::f32, Type::f64});
  i.expect(2);
  Op& op = i.op();
  if (t == Type::pred) {
    bool negated = false;
    op.a = i.read_predicate(i.operand(1), negated);
    op.d = i.write_predicate(i.operand(0));
    op.flags = negated;
    return i.run(move_predicate, OpClass::move);
  }
  if (decode_clock(i, t)) return;
  const unsigned bytes = bytes_of(t);
  auto part_type = [&](size_t parts) {
    if (t != Type::b32 && t != Type::b64 && t != Type::b128)
      i.fail("only .b32, .b64 and .b128 can be packed and unpacked");
    if (parts == 2) return bytes == 4 ? Type::b16 : bytes == 8 ? Type::b32 : Type::b64;
    if (parts == 4 && bytes == 8) return Type::b16;
    i.fail("the parts do not add up to the whole");
  };
  const Operand &to = i.operand(0), &from = i.operand(1);
  if (from.kind == Operand::Kind::list) {
    const Type part = part_type(from.parts.size());
    for (const Operand& o : from.parts) i.append(i.read(o, part));
    op.d = i.write(0, t);
    return i.run(bytes == 4          ? pack<uint32_t, uint16_t>
                 : bytes == 16       ? pack<Wide, uint64_t>
                 : part == Type::b32 ? pack<uint64_t, uint32_t>
                                     : pack<uint64_t, uint16_t>,
                 OpClass::move);
  }
  if (to.kind == Operand::Kind::list) {
    const Type part = part_type(to.parts.size());
    op.a = i.read(1, t);
    for (const Operand& o : to.parts) i.append(i.write(o, part));
    return i.run(bytes == 4          ? unpack<uint32_t, uint16_t>
                 : bytes == 16       ? unpack<Wide, uint64_t>
                 : part == Type::b32 ? unpack<uint64_t, uint32_t>
                                     : unpack<uint64_t, uint16_t>,
                 OpClass::move);
  }
  op.a = i.read(1, t);
  op.d = i.write(0, t);
  i.run(bytes == 16 ? unary<Wide, Wide, Same> : copy_of(bytes), OpClass::move);
}

// --- prmt ------------------------------------------------------------------------------------------------------------

// Each selector picks a byte of b:a, or with its highest bit set replicates the byte's sign.
struct Prmt {
  static uint32_t apply(uint32_t a, uint32_t b, uint32_t selectors) {
    const uint64_t both = static_cast<uint64_t>(b) << 32 | a;
    uint32_t r = 0;
    for (int i = 0; i < 4; i++) {
      const uint32_t selector = selectors >> 4 * i;
      const auto byte = static_cast<uint8_t>(both >> 8 * (selector & 7));
      const uint8_t sign = byte & 0x80 ? 0xff : 0;
      r |= static_cast<uint32_t>(selector & 8 ? sign : byte) << 8 * i;
    }
    return r;
  }
};
// The selectors of the special modes, for each value of the two lowest bits of c.
constexpr uint16_t kModes[6][4] = {
    {0x3210, 0x4321, 0x5432, 0x6543},  // f4e
    {0x5670, 0x6701, 0x7012, 0x0123},  // b4e
    {0x0000, 0x1111, 0x2222, 0x3333},  // rc8
    {0x3210, 0x3211, 0x3222, 0x3333},  // ecl
    {0x0000, 0x1110, 0x2210, 0x3210},  // ecr
    {0x1010, 0x3232, 0x1010, 0x3232},  // rc16
};
template <int Mode>
struct PrmtMode {
  static uint32_t apply(uint32_t a, uint32_t b, uint32_t c) { return Prmt::apply(a, b, kModes[Mode][c & 3]); }
};
void prmt(Decoding& i) {
  i.type({Type::b32});
  const int mode = i.take_any({"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"});
  bind_ternary(i, Type::b32, Type::b32, Type::b32, Type::b32);
  using W = uint32_t;
  constexpr Handler handlers[] = {ternary<W, W, W, W, Prmt>,        ternary<W, W, W, W, PrmtMode<0>>,
                                  ternary<W, W, W, W, PrmtMode<1>>, ternary<W, W, W, W, PrmtMode<2>>,
                                  ternary<W, W, W, W, PrmtMode<3>>, ternary<W, W, W, W, PrmtMode<4>>,
                                  ternary<W, W, W, W, PrmtMode<5>>};
  i.run(handlers[mode + 1], OpClass::integer);
}

// --- addresses -------------------------------------------------------------------------------------------------------

// A generic address is the address in its state space plus the space's window.
void to_window(Warp& w, const Op& op) {
  const uint64_t* a = w.lanes<const uint64_t>(op.a);
  uint64_t r[kLanes];
  for (int l = 0; l < kLanes; l++) r[l] = a[l] + static_cast<uint64_t>(op.imm);
  commit(w.lanes<uint64_t>(op.d), r, w.mask);
}

void cvta(Decoding& i) {
  const bool to = i.take("to");
  const int which =
      i.one_of({"global", "shared", "shared::cta", "shared::cluster", "local", "const", "param", "param::entry"});
  i.type({Type::u64});
  bind_unary(i, Type::u64, Type::u64);
  const Space space = which >= 1 && which <= 3 ? Space::shared
                      : which == 4             ? Space::local
                      : which >= 6             ? Space::param
                                               : Space::global;
  const auto window = static_cast<int64_t>(window_of(space));
  i.op().imm = to ? -window : window;
  i.run(to_window, OpClass::move);
}

bool in_window(uint64_t address, uint64_t window) { return address >= window && address - window < kWindowBytes; }

// Constants have no window here but allocations of their own. Parameters count as global too.
bool lies_in(const Warp& w, uint64_t address, Space space, bool any_block) {
  if (space == Space::shared)
    return in_window(address, kSharedWindow) && (any_block || (address - kSharedWindow) >> kRankShift == 0);
  if (space == Space::local) return in_window(address, kLocalWindow);
  if (space == Space::param) return in_window(address, kParamWindow);
  const Allocation* a = w.block.launch.memory.find(address);
  const bool constant = a && a->constant;
  if (space == Space::constant) return constant;
  return !constant && !in_window(address, kSharedWindow) && !in_window(address, kLocalWindow);
}
void isspacep(Warp& w, const Op& op) {
  const auto* a = w.lanes<const uint64_t>(op.a);
  uint32_t r = 0;
  for (int l = 0; l < kLanes; l++)
    r |= static_cast<uint32_t>(lies_in(w, a[l], static_cast<Space>(op.flags), op.imm)) << l;
  w.set_predicate(op.d, r);
}
void decode_isspacep(Decoding& i) {
  const int which =
      i.one_of({"const", "global", "local", "shared", "shared::cta", "shared::cluster", "param", "param::entry"});
  constexpr Space spaces[] = {Space::constant, Space::global, Space::local, Space::shared,
                              Space::shared,   Space::shared, Space::param, Space::param};
  i.expect(2);
  i.op().flags = static_cast<uint8_t>(spaces[which]);
  i.op().imm = which == 5;
  i.op().a = i.read(1, Type::u64);
  i.op().d = i.write_predicate(i.operand(0));
  i.run(isspacep, OpClass::move);
}

// --- caches ----------------------------------------------------------------------------------------------------------

void nothing(Warp&, const Op&) {}

// Prefetching invalid addresses has no effect.
void prefetch(Decoding& i) {
  const int space = i.take_any({"global", "local", "const", "param"});
  const bool tensormap = i.take("tensormap");
  if (tensormap) i.needs(90);
  if (!tensormap) {
    if (space >= 2) i.fail("allows only .global and .local");
    if (space == 0)
      i.one_of({"L1", "L2", "L2::evict_last", "L2::evict_normal"});
    else
      i.one_of({"L1", "L2"});
  } else if (space == 0 || space == 1) {
    i.fail("allows only .const and .param");
  }
  constexpr Space spaces[] = {Space::generic, Space::global, Space::local, Space::constant, Space::param};
  i.expect(1);
  i.address(0, spaces[space + 1]);
  i.run(nothing, OpClass::other);
}
void prefetchu(Decoding& i) {
  i.one_of({"L1"});
  i.expect(1);
  i.address(0, Space::generic);
  i.run(nothing, OpClass::other);
}
void applypriority(Decoding& i) {
  const Space space = i.take("global") ? Space::global : Space::generic;
  i.one_of({"L2::evict_normal"});
  i.expect(2);
  i.address(0, space);
  i.immediate(1, 128, 128);
  i.run(nothing, OpClass::other);
}

// Discarded memory has an undefined value: here a pattern that is unlikely to be correct.
constexpr unsigned kDiscarded = 128;
void discard(Warp& w, const Op& op) {
  uint64_t address[kLanes];
  std::byte* host[kLanes];
  addresses_of(w, op, address);
  resolve(w, Space::global, address, kDiscarded, Access::write, w.mask, host);
  for (int l = 0; l < kLanes; l++)
    if (w.mask >> l & 1) std::memset(host[l], 0xff, kDiscarded);
}
void decode_discard(Decoding& i) {
  const Space space = i.take("global") ? Space::global : Space::generic;
  i.one_of({"L2"});
  i.expect(2);
  i.address(0, space);
  i.immediate(1, kDiscarded, kDiscarded);
  i.run(discard, OpClass::other);
}

// A policy is opaque and caches are not modelled, so all policies have the same value.
constexpr uint64_t kPolicy = 0x14f0000000000000;
void write_policy(Warp& w, const Op& op) {
  assign(w.lanes<uint64_t>(op.d), w.mask, [](int) { return kPolicy; });
}
void createpolicy(Decoding& i) {
  const int form = i.one_of({"range", "fractional", "cvt"});
  Op& op = i.op();
  if (form == 2) {
    i.one_of({"L2"});
    i.type({Type::b64});
    bind_unary(i, Type::b64, Type::b64);
    return i.run(write_policy, OpClass::other);
  }
  const bool global = form == 0 && i.take("global");
  i.one_of({"L2::evict_last", "L2::evict_normal", "L2::evict_first", "L2::evict_unchanged"});
  i.take_any({"L2::evict_first", "L2::evict_unchanged"});
  i.type({Type::b64});
  if (form == 0) {
    i.expect(4);
    i.address(1, global ? Space::global : Space::generic);
    op.b = i.read(2, Type::u32);
    op.c = i.read(3, Type::u32);
  } else {
    i.expect(1, 2);
    if (i.operands() == 2) op.a = i.read(1, Type::f32);
  }
  op.d = i.write(0, Type::b64);
  i.run(write_policy, OpClass::other);
}

}  // namespace

std::span<const Opcode> move_opcodes() {
  static const Opcode table[] = {
      {"applypriority", applypriority}, {"createpolicy", createpolicy}, {"cvta", cvta},
      {"discard", decode_discard},      {"isspacep", decode_isspacep},  {"mov", mov},
      {"prefetch", prefetch},           {"prefetchu", prefetchu},       {"prmt", prmt},
  };
  return table;
}

}  // namespace vgpu
