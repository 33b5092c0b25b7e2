// PTX ISA, "Data Movement: asynchronous copy" (cp.async) and mbarrier.
#include "check/monitor.h"
#include "count/counters.h"
#include "instructions/bulk_copy.h"
#include "instructions/lanes.h"
#include "instructions/list.h"
#include "machine/address.h"
#include "machine/async.h"
#include "machine/block.h"
#include "machine/mbarrier.h"

namespace vgpu {
namespace {

// --- cp.async --------------------------------------------------------------------------------------------------------

constexpr uint8_t kSize4 = 0, kSize8 = 1, kSize16 = 2, kSizeMask = 3;
constexpr uint8_t kIgnoreSource = 4, kNegated = 8, kDestination32 = 16;

// imm: both offsets; a: destination; b: source; c: src-size, or the predicate of ignore-src.
void run_copy(Warp& w, const Op& op) {
  const uint32_t bytes = 4u << (op.flags & kSizeMask);
  const auto to_offset = static_cast<int32_t>(op.imm), from_offset = static_cast<int32_t>(op.imm >> 32);
  uint64_t to[kLanes], from[kLanes];
  for (int l = 0; l < kLanes; l++) {
    to[l] = op.flags & kDestination32
                ? static_cast<uint32_t>(w.lanes<const uint32_t>(op.a)[l] + static_cast<uint32_t>(to_offset))
                : w.lanes<const uint64_t>(op.a)[l] + static_cast<uint64_t>(int64_t{to_offset});
    from[l] = w.lanes<const uint64_t>(op.b)[l] + static_cast<uint64_t>(int64_t{from_offset});
  }
  AsyncCopies::Copy copy{};
  copy.mask = w.mask;
  copy.bytes = bytes;
  const Routine& routine = *w.split().frame->routine;
  copy.line = routine.lines[static_cast<size_t>(&op - routine.ops.data())];
  const uint32_t ignored = op.flags & kIgnoreSource ? w.predicate(op.c) ^ (op.flags & kNegated ? kAllLanes : 0) : 0;
  uint32_t whole = 0;
  for (int l = 0; l < kLanes; l++) {
    if (!(w.mask >> l & 1)) continue;
    uint32_t source_bytes = bytes;
    if (op.flags & kIgnoreSource)
      source_bytes = ignored >> l & 1 ? 0 : bytes;
    else if (op.c != kNone)
      source_bytes = w.lanes<const uint32_t>(op.c)[l];
    if (source_bytes > bytes || from[l] % bytes != 0) {
      w.fault_lane = l;
      if (source_bytes > bytes)
        throw DeviceFault{
            {FaultKind::illegal_instruction,
             "memcheck",
             "cp.async of " + std::to_string(bytes) + " bytes with a src-size of " + std::to_string(source_bytes),
             {}}};
      throw DeviceFault{{FaultKind::misaligned_address,
                         "memcheck",
                         "the source of cp.async is not a multiple of " + std::to_string(bytes),
                         {}}};
    }
    copy.from_bytes[l] = static_cast<uint8_t>(source_bytes);
    whole |= static_cast<uint32_t>(source_bytes == bytes) << l;
  }
  if (Monitor* m = w.block.launch.monitor.get()) m->issued(w);
  // Read faults are reported at the copy, not at the wait.
  std::byte* source[kLanes] = {};
  if (whole) resolve(w, Space::global, from, bytes, Access::read, whole, source, By::copy);
  for (int l = 0; l < kLanes; l++)
    if (w.mask & ~whole & (1u << l) && copy.from_bytes[l])
      source[l] = resolve_one(w, Space::global, from[l], copy.from_bytes[l], Access::read, l, By::copy);
  std::copy_n(source, kLanes, copy.from);
  resolve(w, Space::shared, to, bytes, Access::write, w.mask, copy.to, By::copy);
  if (OpCounts* counts = w.current_counts())
    counts->async_bytes += uint64_t{bytes} * static_cast<uint64_t>(__builtin_popcount(w.mask));
  w.copies.issue(w, std::move(copy));
}

// cp.async.{ca,cg}.shared.global{.level::cache_hint}{.level::prefetch_size} [d], [s], size
//     {, src-size | ignore-src}{, policy}
void copy(Decoding& i) {
  const bool bypass = i.one_of({"ca", "cg"}) == 1;
  i.one_of({"shared", "shared::cta"});
  i.one_of({"global"});
  const bool hinted = i.take("L2::cache_hint");
  i.take_any({"L2::64B", "L2::128B", "L2::256B"});
  i.expect(hinted ? 4 : 3, hinted ? 5 : 4);
  Op& op = i.op();
  const int64_t size = i.immediate(2, 4, 16);
  if (size != 16 && (bypass || (size != 4 && size != 8))) i.fail(bypass ? "cp-size is 16" : "cp-size is 4, 8 or 16");
  op.flags = size == 4 ? kSize4 : size == 8 ? kSize8 : kSize16;
  int64_t to = 0, from = 0;
  bool to32 = false, from32 = false;
  i.address(i.operand(0), Space::shared, op.a, to, to32);
  i.address(i.operand(1), Space::global, op.b, from, from32);
  if (to != static_cast<int32_t>(to) || from != static_cast<int32_t>(from)) i.fail("an offset does not fit in 32 bits");
  op.imm = static_cast<int64_t>(static_cast<uint64_t>(from) << 32 | static_cast<uint32_t>(to));
  if (to32) op.flags |= kDestination32;
  const size_t third = i.operands() - (hinted ? 1 : 0);
  if (hinted) op.e = i.read(third, Type::b64);  // no effect
  if (third == 4) {
    if (i.is_predicate(i.operand(3))) {
      bool negated = false;
      op.c = i.read_predicate(i.operand(3), negated);
      op.flags |= static_cast<uint8_t>(kIgnoreSource | (negated ? kNegated : 0));
    } else {
      op.c = i.read(3, Type::b32);
    }
  }
  i.run(run_copy, OpClass::async);
}

void run_commit(Warp& w, const Op&) { w.copies.commit(w, w.mask); }
void run_wait_group(Warp& w, const Op& op) { w.copies.wait_group(w, w.mask, static_cast<uint32_t>(op.imm)); }
void run_wait_all(Warp& w, const Op&) { w.copies.wait_all(w, w.mask); }

constexpr uint8_t kNoIncrement = 1, kGeneric = 2;

Space space_of(const Op& op) { return op.flags & kGeneric ? Space::generic : Space::shared; }

void objects_of(Warp& w, const Op& op, std::byte* (&host)[kLanes], Access access = Access::atomic) {
  uint64_t address[kLanes];
  addresses_of(w, op, address);
  if (op.flags & kGeneric)
    for (int l = 0; l < kLanes; l++)
      if (w.mask >> l & 1 && (address[l] & ~(kWindowBytes - 1)) != kSharedWindow) {
        w.fault_lane = l;
        throw DeviceFault{
            {FaultKind::invalid_address_space, "memcheck", "an mbarrier object is outside shared memory", {}}};
      }
  resolve(w, space_of(op), address, 8, access, w.mask, host);
}

void run_arrive_after_copies(Warp& w, const Op& op) {
  std::byte* object[kLanes];
  objects_of(w, op, object);
  if (!(op.flags & kNoIncrement))
    for (int l = 0; l < kLanes; l++)
      if (w.mask >> l & 1) mbarrier::increase_pending(w, l, object[l]);
  w.copies.arrive_after(w, w.mask, object);
}

// Binds the address of an mbarrier object, after {.shared{::cta}}.
void bind_object(Decoding& i, size_t operand, bool generic) {
  i.address(operand, generic ? Space::generic : Space::shared);
  if (generic) i.op().flags |= kGeneric;
}

void cp(Decoding& i) {
  if (i.take("reduce")) {
    i.one_of({"async"});
    i.one_of({"bulk"});
    return decode_bulk_reduction(i);
  }
  i.one_of({"async"});
  if (i.take("bulk")) return decode_bulk_copy(i);
  if (i.take("commit_group")) {
    i.expect(0);
    i.run(run_commit, OpClass::async);
  } else if (i.take("wait_group")) {
    i.expect(1);
    i.op().imm = i.immediate(0, 0, INT32_MAX);
    i.run(run_wait_group, OpClass::async);
  } else if (i.take("wait_all")) {
    i.expect(0);
    i.run(run_wait_all, OpClass::async);
  } else if (i.take("mbarrier")) {
    i.one_of({"arrive"});
    const bool noinc = i.take("noinc"), generic = i.take_any({"shared", "shared::cta"}) < 0;
    i.type({Type::b64});
    i.expect(1);
    bind_object(i, 0, generic);
    if (noinc) i.op().flags |= kNoIncrement;
    i.run(run_arrive_after_copies, OpClass::async);
  } else {
    copy(i);
  }
}

// --- mbarrier --------------------------------------------------------------------------------------------------------

constexpr uint8_t kExpectTransfer = 4;  // the count is in bytes
constexpr unsigned kHowShift = 4;       // for mbarrier::kDrop, kIncomplete

// b: the count, if any.
void run_init(Warp& w, const Op& op) {
  std::byte* object[kLanes];
  objects_of(w, op, object, Access::write);
  for (int l = 0; l < kLanes; l++)
    if (w.mask >> l & 1) mbarrier::init(w, l, object[l], w.lanes<const uint32_t>(op.b)[l]);
}

void run_inval(Warp& w, const Op& op) {
  std::byte* object[kLanes];
  objects_of(w, op, object, Access::write);
  for (int l = 0; l < kLanes; l++)
    if (w.mask >> l & 1) mbarrier::invalidate(w, l, object[l]);
}

void run_arrive(Warp& w, const Op& op) {
  std::byte* object[kLanes];
  objects_of(w, op, object);
  for (int l = 0; l < kLanes; l++) {
    if (!(w.mask >> l & 1)) continue;
    const uint32_t count = op.b == kNone ? 1 : w.lanes<const uint32_t>(op.b)[l];
    if (op.flags & kExpectTransfer) mbarrier::transfer(w, l, object[l], count);
    const uint64_t state = mbarrier::arrive(w, l, object[l], op.flags & kExpectTransfer ? 1 : count,
                                            static_cast<uint8_t>(op.flags >> kHowShift & 3));
    if (op.d != kNone) w.lanes<uint64_t>(op.d)[l] = state;
  }
}

// imm holds the address's offset, and this flag the sign of the byte count.
constexpr uint8_t kCompletes = 8;
void run_transfer(Warp& w, const Op& op) {
  std::byte* object[kLanes];
  objects_of(w, op, object);
  for (int l = 0; l < kLanes; l++)
    if (w.mask >> l & 1) {
      const int64_t bytes = w.lanes<const uint32_t>(op.b)[l];
      mbarrier::transfer(w, l, object[l], op.flags & kCompletes ? -bytes : bytes);
    }
}

constexpr uint8_t kParity = 8;

// test_wait, and try_wait, which may give up at once. b: the state, or the parity of the phase.
void run_test(Warp& w, const Op& op) {
  std::byte* object[kLanes];
  objects_of(w, op, object);
  uint32_t over = 0;
  for (int l = 0; l < kLanes; l++) {
    if (!(w.mask >> l & 1)) continue;
    const bool parity = op.flags & kParity ? w.lanes<const uint32_t>(op.b)[l] & 1
                                           : mbarrier::parity_of(w.lanes<const uint64_t>(op.b)[l]);
    over |= static_cast<uint32_t>(mbarrier::completed(w, l, object[l], parity)) << l;
  }
  w.set_predicate(op.d, over);
  if (over != w.mask) w.yield();
}

void run_pending_count(Warp& w, const Op& op) {
  const uint64_t* a = w.lanes<const uint64_t>(op.a);
  uint32_t r[kLanes];
  for (int l = 0; l < kLanes; l++) r[l] = mbarrier::pending_of(a[l]);
  commit(w.lanes<uint32_t>(op.d), r, w.mask);
}

bool take_semantics(Decoding& i, std::initializer_list<std::string_view> orders) {
  if (i.take_any(orders) < 0) return false;
  i.one_of({"cta", "cluster"});
  return true;
}

void arrive(Decoding& i, uint8_t how) {
  const bool transfers = i.take("expect_tx");
  if (transfers) i.needs(90);
  if (!transfers && i.take("noComplete")) how |= mbarrier::kIncomplete;
  take_semantics(i, {"release", "relaxed"});
  const int where = i.take_any({"shared", "shared::cta", "shared::cluster"});
  i.type({Type::b64});
  // An mbarrier object in another block returns no state.
  const bool stateless = i.operands() > 0 && i.operand(0).kind == Operand::Kind::address;
  const size_t at = stateless ? 0 : 1;
  const bool counted = transfers || how & mbarrier::kIncomplete;
  i.expect(at + (counted ? 2 : 1), at + 2);
  bind_object(i, at, where < 0);
  if (i.operands() == at + 2) i.op().b = i.read(at + 1, Type::u32);
  if (i.operands() == at + 2 && !(how & mbarrier::kIncomplete)) i.needs(90);
  if (!stateless && i.operand(0).kind != Operand::Kind::sink) {
    if (where == 2) i.fail("an mbarrier object in another block returns no state");
    i.op().d = i.write(0, Type::b64);
  }
  i.op().flags |= static_cast<uint8_t>((transfers ? kExpectTransfer : 0) | how << kHowShift);
  i.run(run_arrive, OpClass::barrier);
}

void wait(Decoding& i, bool may_suspend) {
  const bool parity = i.take("parity");
  take_semantics(i, {"acquire", "relaxed"});
  const bool generic = i.take_any({"shared", "shared::cta"}) < 0;
  i.type({Type::b64});
  i.expect(3, may_suspend ? 4 : 3);
  bind_object(i, 1, generic);
  i.op().b = i.read(2, parity ? Type::u32 : Type::b64);
  if (i.operands() == 4) i.op().c = i.read(3, Type::u32);
  i.op().d = i.write_predicate(i.operand(0));
  if (parity) i.op().flags |= kParity;
  i.run(run_test, OpClass::barrier);
}

void mbarrier_(Decoding& i) {
  static const auto object = [](Decoding& d, size_t operand) {
    const bool generic = d.take_any({"shared", "shared::cta"}) < 0;
    d.type({Type::b64});
    d.expect(operand + 1);
    bind_object(d, 0, generic);
    if (operand == 1) d.op().b = d.read(1, Type::u32);
  };
  switch (i.one_of({"init", "inval", "arrive", "arrive_drop", "test_wait", "try_wait", "pending_count", "expect_tx",
                    "complete_tx"})) {
    case 0: object(i, 1); return i.run(run_init, OpClass::barrier);
    case 1: object(i, 0); return i.run(run_inval, OpClass::barrier);
    case 2: return arrive(i, 0);
    case 3: return arrive(i, mbarrier::kDrop);
    case 4: return wait(i, false);
    case 5: i.needs(90); return wait(i, true);
    case 6:
      i.type({Type::b64});
      i.expect(2);
      i.op().a = i.read(1, Type::b64);
      i.op().d = i.write(0, Type::u32);
      return i.run(run_pending_count, OpClass::barrier);
    default: {
      i.needs(90);
      const bool completes = i.instruction().head.substr(9, 8) == "complete";
      take_semantics(i, {"relaxed"});
      const bool generic = i.take_any({"shared", "shared::cta", "shared::cluster"}) < 0;
      i.type({Type::b64});
      i.expect(2);
      bind_object(i, 0, generic);
      i.op().b = i.read(1, Type::u32);
      if (completes) i.op().flags |= kCompletes;
      return i.run(run_transfer, OpClass::barrier);
    }
  }
}

}  // namespace

std::span<const Opcode> async_copy_opcodes() {
  static const Opcode table[] = {{"cp", cp}, {"mbarrier", mbarrier_}, {"tensormap", decode_tensor_map}};
  return table;
}

}  // namespace vgpu
