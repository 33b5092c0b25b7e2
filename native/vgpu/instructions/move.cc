// PTX ISA, "Data Movement and Conversion Instructions": mov, cvta.
#include "instructions/lanes.h"
#include "instructions/list.h"
#include "machine/address.h"

namespace vgpu {
namespace {

struct Same {
  template <class T>
  static T apply(T a) {
    return a;
  }
};

Handler copy_of(unsigned bytes) {
  return bytes == 2 ? unary<uint16_t, uint16_t, Same> : bytes == 4 ? unary<uint32_t, uint32_t, Same> : unary<uint64_t, uint64_t, Same>;
}

void move_predicate(Warp& w, const Op& op) { w.set_predicate(op.d, w.predicate(op.a) ^ (op.flags & 1 ? kAllLanes : 0)); }

// {a, b, …} in one register: the first is the lowest.
template <class Whole, class Part>
void pack(Warp& w, const Op& op) {
  const uint32_t* slots = w.split().frame->routine->lists.data() + op.list;
  constexpr int n = sizeof(Whole) / sizeof(Part);
  Whole r[kLanes] = {};
  for (int i = 0; i < n; i++) {
    const Part* part = w.lanes<const Part>(slots[i]);
    for (int l = 0; l < kLanes; l++) r[l] |= static_cast<Whole>(static_cast<Whole>(part[l]) << (8 * sizeof(Part) * static_cast<size_t>(i)));
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

void mov(Decoding& i) {
  const Type t = i.type({Type::pred, Type::b16, Type::b32, Type::b64, Type::u16, Type::u32, Type::u64, Type::s16, Type::s32, Type::s64,
                         Type::f32, Type::f64});
  i.expect(2);
  Op& op = i.op();
  if (t == Type::pred) {
    bool negated = false;
    op.a = i.read_predicate(i.operand(1), negated);
    op.d = i.write_predicate(i.operand(0));
    op.flags = negated;
    return i.run(move_predicate, OpClass::move);
  }
  const unsigned bytes = bytes_of(t);
  auto part_type = [&](size_t parts) {
    if (t != Type::b32 && t != Type::b64) i.fail("only .b32 and .b64 are made of parts");
    if (parts == 2) return bytes == 4 ? Type::b16 : Type::b32;
    if (parts == 4 && bytes == 8) return Type::b16;
    i.fail("parts that do not make up the whole");
  };
  const Operand &to = i.operand(0), &from = i.operand(1);
  if (from.kind == Operand::Kind::list) {
    const Type part = part_type(from.parts.size());
    for (const Operand& o : from.parts) i.append(i.read(o, part));
    op.d = i.write(0, t);
    return i.run(bytes == 4 ? pack<uint32_t, uint16_t> : part == Type::b32 ? pack<uint64_t, uint32_t> : pack<uint64_t, uint16_t>, OpClass::move);
  }
  if (to.kind == Operand::Kind::list) {
    const Type part = part_type(to.parts.size());
    op.a = i.read(1, t);
    for (const Operand& o : to.parts) i.append(i.write(o, part));
    return i.run(bytes == 4 ? unpack<uint32_t, uint16_t> : part == Type::b32 ? unpack<uint64_t, uint32_t> : unpack<uint64_t, uint16_t>, OpClass::move);
  }
  op.a = i.read(1, t);
  op.d = i.write(0, t);
  i.run(copy_of(bytes), OpClass::move);
}

// Generic addresses of a state space are its own plus the window's.
void to_window(Warp& w, const Op& op) {
  const uint64_t* a = w.lanes<const uint64_t>(op.a);
  uint64_t r[kLanes];
  for (int l = 0; l < kLanes; l++) r[l] = a[l] + static_cast<uint64_t>(op.imm);
  commit(w.lanes<uint64_t>(op.d), r, w.mask);
}

void cvta(Decoding& i) {
  const bool to = i.take("to");
  const int which = i.one_of({"global", "shared", "shared::cta", "shared::cluster", "local", "const", "param", "param::entry"});
  i.type({Type::u64});
  bind_unary(i, Type::u64, Type::u64);
  const Space space = which >= 1 && which <= 3 ? Space::shared : which == 4 ? Space::local : which >= 6 ? Space::param : Space::global;
  const auto window = static_cast<int64_t>(window_of(space));
  i.op().imm = to ? -window : window;
  i.run(to_window, OpClass::move);
}

}  // namespace

std::span<const Opcode> move_opcodes() {
  static const Opcode table[] = {{"cvta", cvta}, {"mov", mov}};
  return table;
}

}  // namespace vgpu
