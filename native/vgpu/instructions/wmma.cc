// PTX ISA, "Warp Level Matrix Multiply-Accumulate Instructions": wmma.
//
// The ISA leaves open which lane holds which element of a fragment. Here the slots of all lanes, counted lane after
// lane, hold the elements in order, repeated if there are more slots than elements. A and C are counted by rows, B by
// columns.
#include <algorithm>
#include <cmath>

#include "instructions/convergence.h"
#include "instructions/list.h"
#include "instructions/tensor.h"
#include "machine/address.h"
#include "machine/block.h"

namespace vgpu {
namespace {

using tensor::Format;

struct Shape {
  int m, n, k;
};
constexpr Shape kShapes[] = {{16, 16, 16}, {8, 32, 16}, {32, 8, 16}, {16, 16, 8}, {8, 8, 4}};
int take_shape(Decoding& i) { return i.one_of({"m16n16k16", "m8n32k16", "m32n8k16", "m16n16k8", "m8n8k4"}); }

enum Matrix : uint8_t { matrix_a, matrix_b, accumulator };

// A fragment: `lines` rows (B: columns) of `length` elements, in `registers` per lane.
struct Fragment {
  int lines, length, element_bytes, registers, register_bytes;
  int elements() const { return lines * length; }
  int bytes_of_lane() const { return registers * register_bytes; }
};

bool exists(const Shape& s, Type ab) {
  switch (ab) {
    case Type::tf32: return s.k == 8;
    case Type::f64: return s.k == 4;
    default: return s.k == 16;
  }
}

Fragment fragment_of(Matrix which, const Shape& s, Type t) {
  const int lines = which == matrix_b ? s.n : s.m, length = which == accumulator ? s.n : s.k;
  const int bytes = static_cast<int>(bytes_of(t));
  if (t == Type::f64) return {lines, length, 8, lines * length / kLanes, 8};
  // A and B of f16 have 8 registers for every shape; all other fragments have just enough for their elements.
  const int registers = t == Type::f16 && which != accumulator ? 8 : lines * length * bytes / 4 / kLanes;
  return {lines, length, bytes, registers, 4};
}

constexpr int kMaxBytes = 32 * 16 * 4;

void gather(Warp& w, const uint32_t* slots, const Fragment& f, std::byte* dense) {
  const int slot_bytes = f.element_bytes, per_register = f.register_bytes / slot_bytes,
            per_lane = f.registers * per_register;
  for (int e = 0; e < f.elements(); e++) {
    const int lane = e / per_lane, slot = e % per_lane;
    const std::byte* from = w.lanes<const std::byte>(slots[slot / per_register]) + lane * f.register_bytes +
                            slot % per_register * slot_bytes;
    std::memcpy(dense + e * slot_bytes, from, static_cast<size_t>(slot_bytes));
  }
}

void scatter(Warp& w, const uint32_t* slots, const Fragment& f, const std::byte* dense) {
  const int slot_bytes = f.element_bytes, per_register = f.register_bytes / slot_bytes,
            per_lane = f.registers * per_register;
  for (int lane = 0; lane < kLanes; lane++)
    for (int slot = 0; slot < per_lane; slot++) {
      std::byte* to =
          w.lanes<std::byte>(slots[slot / per_register]) + lane * f.register_bytes + slot % per_register * slot_bytes;
      std::memcpy(to, dense + (lane * per_lane + slot) % f.elements() * slot_bytes, static_cast<size_t>(slot_bytes));
    }
}

const uint32_t* list_of(Warp& w, const Op& op) { return w.split().frame->routine->lists.data() + op.list; }

// --- wmma.load, wmma.store -------------------------------------------------------------------------------------------
// a: address; b: stride; imm: all else.

struct Transfer {
  int64_t offset;  // added to the address
  Matrix which;
  int shape;
  Type type;
  Space space;
  bool columns;  // column-major layout

  // 32 bits of offset, then the other fields at a byte or less each.
  int64_t packed() const {
    return static_cast<int64_t>(static_cast<uint32_t>(offset) | static_cast<uint64_t>(which) << 32 |
                                static_cast<uint64_t>(shape) << 36 | static_cast<uint64_t>(type) << 40 |
                                static_cast<uint64_t>(space) << 48 | uint64_t{columns} << 52);
  }
  static Transfer unpacked(int64_t imm) {
    return {static_cast<int32_t>(imm),          static_cast<Matrix>(imm >> 32 & 15), static_cast<int>(imm >> 36 & 15),
            static_cast<Type>(imm >> 40 & 255), static_cast<Space>(imm >> 48 & 15),  (imm >> 52 & 1) != 0};
  }
};

template <class T>
T uniform(Warp& w, uint32_t slot, const char* what) {
  const T* v = w.lanes<const T>(slot);
  for (int l = 1; l < kLanes; l++)
    if (v[l] != v[0]) synccheck_fault(w, l, std::string(what) + " of a wmma instruction differs between the lanes");
  return v[0];
}

void run_transfer(Warp& w, const Op& op, bool loads) {
  if (!whole_warp(w)) return;
  const Transfer t = Transfer::unpacked(op.imm);
  const Fragment f = fragment_of(t.which, kShapes[t.shape], t.type);
  // Copies runs of consecutive elements, which are lines of the fragment or cross them.
  const bool along = t.which == matrix_b ? t.columns : !t.columns;
  const int runs = along ? f.lines : f.length, run = along ? f.length : f.lines;
  uint64_t base = op.flags & Decoding::kBase32 ? uniform<uint32_t>(w, op.a, "the address")
                                               : uniform<uint64_t>(w, op.a, "the address");
  base += static_cast<uint64_t>(t.offset);
  const uint64_t stride = op.b == kNone ? static_cast<uint64_t>(run) : uniform<uint32_t>(w, op.b, "the stride");
  const auto bytes = static_cast<uint64_t>(f.element_bytes);
  // The ISA requires every row (column) to be aligned to a lane's fragment; the CUDA C++ guide requires a stride of 16
  // bytes.
  const auto fragment_bytes = static_cast<uint64_t>(f.bytes_of_lane());
  if (base % std::min<uint64_t>(fragment_bytes, 32) != 0 ||
      stride * bytes % std::min<uint64_t>(fragment_bytes, 16) != 0) {
    w.fault_lane = 0;
    throw DeviceFault{{FaultKind::misaligned_address,
                       "memcheck",
                       "wmma: the address or the stride of " + std::to_string(stride) + " elements is not aligned to " +
                           std::to_string(fragment_bytes) + " bytes",
                       {}}};
  }
  std::byte dense[kMaxBytes];
  if (!loads) gather(w, list_of(w, op), f, dense);
  for (int r = 0; r < runs; r++) {
    std::byte* host = resolve_one(w, t.space, base + static_cast<uint64_t>(r) * stride * bytes,
                                  static_cast<uint64_t>(run) * bytes, loads ? Access::read : Access::write, 0);
    for (int e = 0; e < run; e++) {
      std::byte* element = dense + static_cast<uint64_t>(along ? r * f.length + e : e * f.length + r) * bytes;
      if (loads)
        std::memcpy(element, host + static_cast<uint64_t>(e) * bytes, bytes);
      else
        std::memcpy(host + static_cast<uint64_t>(e) * bytes, element, bytes);
    }
  }
  if (loads) scatter(w, list_of(w, op), f, dense);
}

void run_load(Warp& w, const Op& op) { run_transfer(w, op, true); }
void run_store(Warp& w, const Op& op) { run_transfer(w, op, false); }

// The type with which a fragment's registers are declared.
Type register_type(Type t) { return t == Type::f32 || t == Type::f64 || t == Type::s32 ? t : Type::b32; }

void bind_fragment(Decoding& i, size_t operand, const Fragment& f, Type t, bool writes) {
  const Operand& o = i.operand(operand);
  auto bind = [&](const Operand& part) {
    i.append(writes ? i.write(part, register_type(t)) : i.read(part, register_type(t)));
  };
  if (o.kind != Operand::Kind::list && f.registers == 1) return bind(o);
  if (o.kind != Operand::Kind::list || static_cast<int>(o.parts.size()) != f.registers)
    i.fail("operand " + std::to_string(operand + 1) + " must have " + std::to_string(f.registers) + " registers");
  for (const Operand& part : o.parts) bind(part);
}

// wmma.load.{a,b,c}.sync.aligned.layout.shape{.ss}.type r, [p]{, stride}; wmma.store.d likewise with [p], r
void transfer(Decoding& i, bool loads) {
  Transfer t{};
  t.which = loads ? static_cast<Matrix>(i.one_of({"a", "b", "c"})) : (i.one_of({"d"}), accumulator);
  i.one_of({"sync"});
  i.one_of({"aligned"});
  t.columns = i.one_of({"row", "col"}) == 1;
  t.shape = take_shape(i);
  const int where = i.take_any({"global", "shared", "shared::cta"});
  t.space = where < 0 ? Space::generic : where == 0 ? Space::global : Space::shared;
  t.type = t.which == accumulator ? i.type({Type::f16, Type::f32, Type::s32, Type::f64})
                                  : i.type({Type::f16, Type::bf16, Type::tf32, Type::s8, Type::u8, Type::f64});
  const Shape& shape = kShapes[t.shape];
  const bool fits = t.which == accumulator
                        ? (t.type == Type::f64) == (shape.k == 4) && (shape.k != 8 || t.type == Type::f32)
                        : exists(shape, t.type);
  if (!fits) i.fail("no such shape for this type");
  i.expect(2, 3);
  bool base32 = false;
  i.address(i.operand(loads ? 1 : 0), t.space, i.op().a, t.offset, base32);
  if (base32) i.op().flags |= Decoding::kBase32;
  if (t.offset != static_cast<int32_t>(t.offset)) i.fail("an offset does not fit in 32 bits");
  if (i.operands() == 3) i.op().b = i.read(2, Type::b32);
  bind_fragment(i, loads ? 0 : 1, fragment_of(t.which, shape, t.type), t.type, loads);
  i.op().imm = t.packed();
  i.run(loads ? run_load : run_store, loads ? OpClass::load : OpClass::store);
}

// --- wmma.mma --------------------------------------------------------------------------------------------------------
// imm: shape, types of A (and B), C and D. Once in registers, A and B no longer depend on their layouts.

constexpr uint8_t kSatfinite = 1;

struct Operation {
  int shape;
  Type ab, c, d;
  int64_t packed() const {
    return shape | static_cast<int64_t>(ab) << 8 | static_cast<int64_t>(c) << 16 | static_cast<int64_t>(d) << 24;
  }
  static Operation unpacked(int64_t imm) {
    return {static_cast<int>(imm & 255), static_cast<Type>(imm >> 8 & 255), static_cast<Type>(imm >> 16 & 255),
            static_cast<Type>(imm >> 24 & 255)};
  }
};

void widen(Type t, const std::byte* from, int elements, float* to) {
  const int per = 16 / static_cast<int>(bytes_of(t));
  for (int e = 0; e < elements; e += per)
    if (t == Type::f16)
      tensor::widen<Format::f16>(from + 2 * e, to + e);
    else if (t == Type::bf16)
      tensor::widen<Format::bf16>(from + 2 * e, to + e);
    else if (t == Type::tf32)
      tensor::widen<Format::tf32>(from + 4 * e, to + e);
    else
      std::memcpy(to + e, from + 4 * e, 16);
}

void run_mma(Warp& w, const Op& op) {
  if (!whole_warp(w)) return;
  const Operation o = Operation::unpacked(op.imm);
  const Shape s = kShapes[o.shape];
  const Fragment fa = fragment_of(matrix_a, s, o.ab), fb = fragment_of(matrix_b, s, o.ab),
                 fc = fragment_of(accumulator, s, o.c), fd = fragment_of(accumulator, s, o.d);
  const uint32_t *ra = list_of(w, op), *rb = ra + fa.registers, *rc = rb + fb.registers, *rd = rc + fc.registers;
  alignas(32) std::byte a[kMaxBytes], b[kMaxBytes], c[kMaxBytes], d[kMaxBytes];
  gather(w, ra, fa, a);
  gather(w, rb, fb, b);
  gather(w, rc, fc, c);
  if (o.ab == Type::f64) {
    auto at = [](std::byte* m, int i) -> double& { return reinterpret_cast<double*>(m)[i]; };
    for (int m = 0; m < s.m; m++)
      for (int n = 0; n < s.n; n++) {
        double sum = at(c, m * s.n + n);
        for (int k = 0; k < s.k; k++) sum = std::fma(at(a, m * s.k + k), at(b, n * s.k + k), sum);
        at(d, m * s.n + n) = sum;
      }
  } else if (o.d == Type::s32) {
    auto value = [&](const std::byte* m, int i) {
      return o.ab == Type::s8 ? reinterpret_cast<const int8_t*>(m)[i] : static_cast<int>(m[i]);
    };
    for (int m = 0; m < s.m; m++)
      for (int n = 0; n < s.n; n++) {
        int32_t sum = 0;
        for (int k = 0; k < s.k; k++) sum += value(a, m * s.k + k) * value(b, n * s.k + k);
        const int i = m * s.n + n;
        reinterpret_cast<int32_t*>(d)[i] =
            tensor::add_integers(reinterpret_cast<int32_t*>(c)[i], sum, op.flags & kSatfinite);
      }
  } else {
    float wide_a[32 * 16], wide_b[32 * 16], wide_c[32 * 16], rows[16 * 8], part[32 * 8];
    widen(o.ab, a, fa.elements(), wide_a);
    widen(o.ab, b, fb.elements(), wide_b);
    widen(o.c, c, fc.elements(), wide_c);
    for (int n = 0; n < s.n; n += 8) {
      tensor::transpose8(wide_b + n * s.k, s.k, rows);
      for (int m = 0; m < s.m; m++) std::memcpy(part + 8 * m, wide_c + m * s.n + n, 32);
      tensor::multiply(part, wide_a, rows, s.m, s.k, static_cast<int>(bytes_of(o.ab)), w.block.launch);
      for (int m = 0; m < s.m; m++) std::memcpy(wide_c + m * s.n + n, part + 8 * m, 32);
    }
    if (o.d == Type::f16)
      for (int i = 0; i < fd.elements(); i += 8)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(d + 2 * i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(wide_c + i), _MM_FROUND_TO_NEAREST_INT));
    else
      std::memcpy(d, wide_c, static_cast<size_t>(fd.elements()) * 4);
  }
  scatter(w, rd, fd, d);
}

// wmma.mma.sync.aligned.alayout.blayout.shape then .dtype.ctype (of f16) or .dtype.atype.btype.ctype
void mma(Decoding& i) {
  i.one_of({"sync"});
  i.one_of({"aligned"});
  i.one_of({"row", "col"});
  i.one_of({"row", "col"});
  Operation o{};
  o.shape = take_shape(i);
  o.d = i.type({Type::f16, Type::f32, Type::s32, Type::f64});
  o.ab = Type::f16;
  if (o.d == Type::s32 || o.d == Type::f64 || i.peek() == "bf16" || i.peek() == "tf32") {
    o.ab = o.d == Type::s32   ? i.type({Type::s8, Type::u8})
           : o.d == Type::f64 ? i.type({Type::f64})
                              : i.type({Type::bf16, Type::tf32});
    i.type({o.ab});
    o.c = i.type({o.d});
    if (o.d == Type::f16) i.fail("the result must be .f32");
  } else {
    o.c = i.type({Type::f16, Type::f32});
  }
  if (o.ab == Type::f64) i.take("rn");
  if (i.take("satfinite")) {
    if (o.d != Type::s32) i.fail(".satfinite is for integers");
    i.op().flags = kSatfinite;
  }
  const Shape& s = kShapes[o.shape];
  if (!exists(s, o.ab)) i.fail("no such shape for this type");
  i.expect(4);
  bind_fragment(i, 1, fragment_of(matrix_a, s, o.ab), o.ab, false);
  bind_fragment(i, 2, fragment_of(matrix_b, s, o.ab), o.ab, false);
  bind_fragment(i, 3, fragment_of(accumulator, s, o.c), o.c, false);
  bind_fragment(i, 0, fragment_of(accumulator, s, o.d), o.d, true);
  i.op().imm = o.packed();
  i.run(run_mma, OpClass::tensor);
}

void wmma(Decoding& i) {
  switch (i.one_of({"load", "store", "mma"})) {
    case 0: return transfer(i, true);
    case 1: return transfer(i, false);
    default: return mma(i);
  }
}

}  // namespace

std::span<const Opcode> wmma_opcodes() {
  static const Opcode table[] = {{"wmma", wmma}};
  return table;
}

}  // namespace vgpu
