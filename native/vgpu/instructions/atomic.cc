// PTX ISA, "Parallel Synchronization and Communication Instructions": atom, red. Orders and scopes do not affect values
// here: every operation is sequentially consistent for the whole system.
#include "instructions/atomic_operations.h"
#include "instructions/bulk_copy.h"
#include "instructions/lanes.h"
#include "instructions/list.h"
#include "machine/address.h"
#include "machine/block.h"

namespace vgpu {
namespace {

using namespace atomic;

constexpr uint8_t kSpaceMask = 0x0f, kReturns = 0x10;

bool is_shared(Space space, uint64_t address) {
  return space == Space::shared || (space == Space::generic && (address & ~(kWindowBytes - 1)) == kSharedWindow);
}

void resolve_atomics(Warp& w, const Op& op, Space space, unsigned bytes, uint64_t (&address)[kLanes],
                     std::byte* (&host)[kLanes]) {
  addresses_of(w, op, address);
  if (space == Space::generic)
    for (int l = 0; l < kLanes; l++) {
      const uint64_t window = address[l] & ~(kWindowBytes - 1);
      if (w.mask >> l & 1 && (window == kLocalWindow || window == kParamWindow)) {
        w.fault_lane = l;
        throw DeviceFault{
            {FaultKind::invalid_address_space, "memcheck", "an atomic operation on local or parameter memory", {}}};
      }
    }
  resolve(w, space, address, bytes, Access::atomic, w.mask, host);
}

// list: the operands, then for atom the results, one of each per vector element. Lanes run one after the other, which
// is one of the allowed orders. Each element of a vector is atomic by itself.
template <class T, class F>
void run_atomic(Warp& w, const Op& op) {
  const auto space = static_cast<Space>(op.flags & kSpaceMask);
  const unsigned n = op.flags & kReturns ? op.count / 2u : op.count;
  uint64_t address[kLanes];
  std::byte* host[kLanes];
  resolve_atomics(w, op, space, static_cast<unsigned>(sizeof(T)) * n, address, host);
  const uint32_t* slots = w.split().frame->routine->lists.data() + op.list;
  for (int l = 0; l < kLanes; l++) {
    if (!(w.mask >> l & 1)) continue;
    const bool exclusive = is_shared(space, address[l]);
    T b[8];
    for (unsigned i = 0; i < n; i++) b[i] = w.lanes<const T>(slots[i])[l];
    for (unsigned i = 0; i < n; i++) {
      std::byte* at = host[l] + i * sizeof(T);
      T old;
      if constexpr (std::is_same_v<F, AddFlushed>)
        old = exclusive ? update<float, Add>(at, b[i], true) : update<float, AddFlushed>(at, b[i], false);
      else
        old = update<T, F>(at, b[i], exclusive);
      if (op.flags & kReturns) w.lanes<T>(slots[n + i])[l] = old;
    }
  }
}

// b: comparand; c: new value; d: old value.
template <class T>
void run_cas(Warp& w, const Op& op) {
  const auto space = static_cast<Space>(op.flags & kSpaceMask);
  uint64_t address[kLanes];
  std::byte* host[kLanes];
  resolve_atomics(w, op, space, sizeof(T), address, host);
  const T *b = w.lanes<const T>(op.b), *c = w.lanes<const T>(op.c);
  for (int l = 0; l < kLanes; l++) {
    if (!(w.mask >> l & 1)) continue;
    T seen = b[l];
    __atomic_compare_exchange_n(reinterpret_cast<T*>(host[l]), &seen, c[l], false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    w.lanes<T>(op.d)[l] = seen;
  }
}

// --- decoding --------------------------------------------------------------------------------------------------------

template <class F>
Handler on_bits(Type t) {
  return bytes_of(t) == 4 ? run_atomic<uint32_t, F> : run_atomic<uint64_t, F>;
}

template <class F>
Handler on_ordered(Type t) {
  return t == Type::u32   ? run_atomic<uint32_t, F>
         : t == Type::s32 ? run_atomic<int32_t, F>
         : t == Type::u64 ? run_atomic<uint64_t, F>
                          : run_atomic<int64_t, F>;
}

template <HalfOperation O>
Handler on_halves(Type t) {
  return t == Type::f16     ? run_atomic<uint16_t, OnHalves<Half, O>>
         : t == Type::f16x2 ? run_atomic<uint32_t, OnHalves<Half, O>>
         : t == Type::bf16  ? run_atomic<uint16_t, OnHalves<Bfloat, O>>
                            : run_atomic<uint32_t, OnHalves<Bfloat, O>>;
}

enum Operation { add, min, max, inc, dec, bit_and, bit_or, bit_xor, exch, cas };

// Decodes the type and the vector length of an operation and returns its handler.
Handler decode_operation(Decoding& i, Operation operation, unsigned& n, Type& t, bool global) {
  auto take_vector = [&](bool halves) {
    if (i.peek() == "v2" || i.peek() == "v4" || (halves && i.peek() == "v8")) {
      if (!global) i.fail("vectors are only for global memory");
      i.needs(90);
      n = 2u << i.take_any({"v2", "v4", "v8"});
    }
  };
  if (operation <= max && i.take("noftz")) {
    i.take("L2::cache_hint");
    take_vector(true);
    t = i.type({Type::f16, Type::f16x2, Type::bf16, Type::bf16x2});
    if (t == Type::bf16 || t == Type::bf16x2) i.needs(90);
    if (operation != add && n == 1) i.fail("min and max of halves are only for vectors");
    if (n * bytes_of(t) > 16) i.fail("the vector has more than 16 bytes");
    return operation == add   ? on_halves<HalfOperation::add>(t)
           : operation == min ? on_halves<HalfOperation::min>(t)
                              : on_halves<HalfOperation::max>(t);
  }
  i.take("L2::cache_hint");
  switch (operation) {
    case add:
      take_vector(false);
      t = n > 1 ? i.type({Type::f32}) : i.type({Type::u32, Type::s32, Type::u64, Type::f32, Type::f64});
      return t == Type::f32     ? run_atomic<float, AddFlushed>
             : t == Type::f64   ? run_atomic<double, Add>
             : bytes_of(t) == 4 ? run_atomic<uint32_t, Add>
                                : run_atomic<uint64_t, Add>;
    case min: t = i.type({Type::u32, Type::s32, Type::u64, Type::s64}); return on_ordered<Min>(t);
    case max: t = i.type({Type::u32, Type::s32, Type::u64, Type::s64}); return on_ordered<Max>(t);
    case inc: t = i.type({Type::u32}); return run_atomic<uint32_t, Inc>;
    case dec: t = i.type({Type::u32}); return run_atomic<uint32_t, Dec>;
    case bit_and: t = i.type({Type::b32, Type::b64}); return on_bits<And>(t);
    case bit_or: t = i.type({Type::b32, Type::b64}); return on_bits<Or>(t);
    case bit_xor: t = i.type({Type::b32, Type::b64}); return on_bits<Xor>(t);
    case exch: t = i.type({Type::b32, Type::b64}); return on_bits<Exch>(t);
    case cas:
      t = i.type({Type::b16, Type::b32, Type::b64});
      return bytes_of(t) == 2 ? run_cas<uint16_t> : bytes_of(t) == 4 ? run_cas<uint32_t> : run_cas<uint64_t>;
  }
  return nullptr;
}

void decode_atomic(Decoding& i, bool returns) {
  // nvcc also writes these after the operation (atom.add.acquire.cta.u32), and nvc++ writes the space first, which
  // ptxas allows (red.add.global.relaxed.gpu.f64).
  Space space = Space::generic;
  auto take_space = [&] {
    const int where = i.take_any({"global", "shared", "shared::cta", "shared::cluster"});
    if (where >= 0) space = where == 0 ? Space::global : Space::shared;
    return where >= 0;
  };
  auto take_qualifiers = [&] {
    const bool first = take_space();
    if (i.take_any({"relaxed", "release"}) < 0 && returns) i.take_any({"acquire", "acq_rel"});
    i.take_any({"cta", "cluster", "gpu", "sys"});
    if (!first) take_space();
  };
  take_qualifiers();
  const auto operation =
      static_cast<Operation>(returns ? i.one_of({"add", "min", "max", "inc", "dec", "and", "or", "xor", "exch", "cas"})
                                     : i.one_of({"add", "min", "max", "inc", "dec", "and", "or", "xor"}));
  take_qualifiers();
  const std::string_view head = i.instruction().head;
  const bool hinted = head.find(".L2::cache_hint") != head.npos;
  unsigned n = 1;
  Type t = Type::b32;
  const Handler handler = decode_operation(i, operation, n, t, space != Space::shared);
  const size_t memory = returns ? 1 : 0;
  const size_t operands = memory + (operation == cas ? 3 : 2) + (hinted ? 1 : 0);
  i.expect(operands);
  Op& op = i.op();
  i.address(memory, space);
  op.flags |= static_cast<uint8_t>(static_cast<uint8_t>(space) | (returns ? kReturns : 0));
  if (hinted) op.c = i.read(operands - 1, Type::b64);  // no effect
  if (operation == cas) {
    if (hinted) i.fail("cas takes no cache policy");
    op.b = i.read(memory + 1, t);
    op.c = i.read(memory + 2, t);
    op.d = i.write(0, t);
    return i.run(handler, OpClass::atomic);
  }
  auto parts = [&](size_t k, auto&& bind) {
    const Operand& o = i.operand(k);
    if (n == 1) return bind(o);
    if (o.kind != Operand::Kind::list || o.parts.size() != n)
      i.fail("takes " + std::to_string(n) + " registers in braces");
    for (const Operand& part : o.parts) bind(part);
  };
  parts(memory + 1, [&](const Operand& o) { i.append(i.read(o, t)); });
  if (returns) parts(0, [&](const Operand& o) { i.append(i.write(o, t)); });
  i.run(handler, OpClass::atomic);
}

void atom(Decoding& i) { decode_atomic(i, true); }
void red(Decoding& i) {
  if (i.take("async")) return decode_red_async(i);
  decode_atomic(i, false);
}

}  // namespace

std::span<const Opcode> atomic_opcodes() {
  static const Opcode table[] = {{"atom", atom}, {"red", red}};
  return table;
}

}  // namespace vgpu
