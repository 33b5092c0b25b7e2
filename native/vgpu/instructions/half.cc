// PTX ISA, "Half Precision Floating Point Instructions": f16, bf16 and pairs of them.
#include <cmath>

#include "instructions/approximation.h"
#include "instructions/lanes.h"
#include "instructions/list.h"
#include "instructions/numbers.h"

namespace vgpu {
namespace {

constexpr uint8_t kFtz = 1, kSat = 2, kRelu = 4;

const std::initializer_list<Type> kHalves{Type::f16, Type::f16x2, Type::bf16, Type::bf16x2};
bool is_pair(Type t) { return t == Type::f16x2 || t == Type::bf16x2; }
bool is_bfloat(Type t) { return t == Type::bf16 || t == Type::bf16x2; }

// An asm statement might access the memory, so arithmetic on it stays within its RoundingScope.
inline void expose(const void* memory) { asm volatile("" : : "r"(memory) : "memory"); }

// Widens an operand's halves to floats. Count is 32, or 64 for pairs.
template <class H, int Count>
void load(Warp& w, uint32_t slot, bool ftz, float (&out)[Count]) {
  uint16_t h[Count];
  std::memcpy(h, w.lanes<const uint16_t>(slot), sizeof h);
  if (ftz)
    for (int l = 0; l < Count; l++) h[l] = flushed_half(h[l], H::smallest_normal);
  H::widen(h, out, Count);
}

template <int Count>
void store(Warp& w, const Op& op, const uint16_t (&h)[Count]) {
  using Word = std::conditional_t<Count == 64, uint32_t, uint16_t>;
  Word words[kLanes];
  std::memcpy(words, h, sizeof words);
  commit(w.lanes<Word>(op.d), words, w.mask);
}

struct Add {
  static float apply(float a, float b, float) { return a + b; }
};
struct Sub {
  static float apply(float a, float b, float) { return a - b; }
};
struct Mul {
  static float apply(float a, float b, float) { return a * b; }
};
struct Fma {
  static float apply(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
};

// The exact result is first rounded to odd in single precision: if inexact, to the neighbour whose last bit is 1, which
// stays on the same side of every midpoint. Rounding that to nearest gives the correctly rounded result.
template <class H, class F, int Operands, int Count>
void arithmetic(Warp& w, const Op& op) {
  float a[Count], b[Count], c[Count], low[Count], high[Count];
  const bool ftz = op.flags & kFtz;
  load<H>(w, op.a, ftz, a);
  load<H>(w, op.b, ftz, b);
  if constexpr (Operands == 3) load<H>(w, op.c, ftz, c);
  for (const void* memory : {a, b, c, low, high}) expose(memory);
  auto run = [&](Rounding r, float (&out)[Count]) {
    const RoundingScope scope(r);
    for (int l = 0; l < Count; l++) out[l] = F::apply(a[l], b[l], Operands == 3 ? c[l] : 0);
  };
  run(Rounding::down, low);
  run(Rounding::up, high);
  for (int l = 0; l < Count; l++) {
    float r = std::bit_cast<uint32_t>(low[l]) & 1 ? low[l] : high[l];
    if (op.flags & kRelu) r = r <= 0 ? 0.0f : r;
    if (op.flags & kSat) r = saturated(r);
    low[l] = r;
  }
  uint16_t h[Count];
  H::narrow(low, h, Count);
  if (ftz)
    for (int l = 0; l < Count; l++) h[l] = flushed_half(h[l], H::smallest_normal);
  store(w, op, h);
}

template <class F, int Operands>
Handler arithmetic_of(Type t) {
  return is_bfloat(t) ? (is_pair(t) ? arithmetic<Bfloat, F, Operands, 64> : arithmetic<Bfloat, F, Operands, 32>)
                      : (is_pair(t) ? arithmetic<Half, F, Operands, 64> : arithmetic<Half, F, Operands, 32>);
}

// add, sub, mul: {.rn}{.ftz}{.sat}.f16, {.rn}.bf16
template <class F>
void basic(Decoding& i) {
  i.take("rn");
  const bool ftz = i.take("ftz"), sat = i.take("sat");
  const Type t = ftz || sat ? i.type({Type::f16, Type::f16x2}) : i.type(kHalves);
  if (is_bfloat(t)) i.needs(90);
  bind_binary(i, t, t, t);
  i.op().flags = static_cast<uint8_t>(ftz * kFtz | sat * kSat);
  i.run(arithmetic_of<F, 2>(t), OpClass::half);
}

// fma.rn{.ftz}{.sat}.f16, fma.rn{.ftz}.relu.f16, fma.rn{.relu}.bf16
void fma(Decoding& i) {
  i.one_of({"rn"});
  const bool ftz = i.take("ftz"), sat = i.take("sat"), relu = !sat && i.take("relu");
  const Type t = ftz || sat ? i.type({Type::f16, Type::f16x2}) : i.type(kHalves);
  bind_ternary(i, t, t, t, t);
  i.op().flags = static_cast<uint8_t>(ftz * kFtz | sat * kSat | relu * kRelu);
  i.run(arithmetic_of<Fma, 3>(t), OpClass::half);
}

// abs and neg change the sign of a NaN too; the ISA leaves its sign unspecified.
template <bool Negate, int Count>
void sign(Warp& w, const Op& op) {
  uint16_t h[Count];
  std::memcpy(h, w.lanes<const uint16_t>(op.a), sizeof h);
  for (int l = 0; l < Count; l++) {
    if (op.flags & kFtz) h[l] = flushed_half(h[l], Half::smallest_normal);
    h[l] = static_cast<uint16_t>(Negate ? h[l] ^ 0x8000 : h[l] & 0x7fff);
  }
  store(w, op, h);
}

template <bool Negate>
void decode_sign(Decoding& i) {
  const bool ftz = i.take("ftz");
  const Type t = ftz ? i.type({Type::f16, Type::f16x2}) : i.type(kHalves);
  bind_unary(i, t, t);
  i.op().flags = ftz * kFtz;
  i.run(is_pair(t) ? sign<Negate, 64> : sign<Negate, 32>, OpClass::half);
}

template <class H, class F, int Count>
void extreme(Warp& w, const Op& op) {
  float a[Count], b[Count];
  load<H>(w, op.a, op.flags & kFtz, a);
  load<H>(w, op.b, op.flags & kFtz, b);
  for (int l = 0; l < Count; l++) a[l] = F::apply(a[l], b[l]);
  uint16_t h[Count];
  H::narrow(a, h, Count);
  store(w, op, h);
}

template <bool Max>
void decode_extreme(Decoding& i) {
  const bool ftz = i.take("ftz"), nan = i.take("NaN"), xorsign = i.take("xorsign");
  if (xorsign) {
    i.one_of({"abs"});
    i.needs(86);
  }
  const Type t = ftz ? i.type({Type::f16, Type::f16x2}) : i.type(kHalves);
  bind_binary(i, t, t, t);
  i.op().flags = ftz * kFtz;
  auto pick = [&]<bool Nan, bool XorSign>() -> Handler {
    using F = Extreme<Max, Nan, XorSign>;
    return is_bfloat(t) ? (is_pair(t) ? extreme<Bfloat, F, 64> : extreme<Bfloat, F, 32>)
                        : (is_pair(t) ? extreme<Half, F, 64> : extreme<Half, F, 32>);
  };
  i.run(nan ? (xorsign ? pick.template operator()<true, true>() : pick.template operator()<true, false>())
            : (xorsign ? pick.template operator()<false, true>() : pick.template operator()<false, false>()),
        OpClass::half);
}

// --- approximate -----------------------------------------------------------------------------------------------------

struct Ex2 {
  static double exact(double x) { return std::exp2(x); }
  static const Bound& bound(bool bfloat) { return bfloat ? bounds::ex2_bf16 : bounds::ex2_f16; }
};
struct Tanh {
  static double exact(double x) { return std::tanh(x); }
  static const Bound& bound(bool bfloat) { return bfloat ? bounds::tanh_bf16 : bounds::tanh_f16; }
};

template <class H, class F, int Count>
void approximate(Warp& w, const Op& op) {
  const bool ftz = op.flags & kFtz;
  const Options* disturb = disturbing(w);
  float a[Count];
  load<H>(w, op.a, ftz, a);
  uint16_t h[Count];
  for (int l = 0; l < Count; l++) {
    double exact = F::exact(a[l]);
    if (disturb)
      exact = disturbed(exact, F::bound(std::is_same_v<H, Bfloat>), H::format.mantissa_bits,
                        std::bit_cast<uint32_t>(a[l]), disturb->seed);
    h[l] = exact == exact ? static_cast<uint16_t>(nearest(exact, H::format)) : kNan16;
    if (ftz) h[l] = flushed_half(h[l], H::smallest_normal);
  }
  store(w, op, h);
}

template <class F>
void decode_approximate(Decoding& i, bool ftz, Type t) {
  if (is_bfloat(t)) i.needs(90);
  bind_unary(i, t, t);
  i.op().flags = ftz * kFtz;
  i.run(is_bfloat(t) ? (is_pair(t) ? approximate<Bfloat, F, 64> : approximate<Bfloat, F, 32>)
                     : (is_pair(t) ? approximate<Half, F, 64> : approximate<Half, F, 32>),
        OpClass::half);
}

// ex2.approx.f16 never flushes subnormals, ex2.approx.ftz.bf16 always does.
void ex2(Decoding& i) {
  i.one_of({"approx"});
  const bool ftz = i.take("ftz");
  decode_approximate<Ex2>(i, ftz, ftz ? i.type({Type::bf16, Type::bf16x2}) : i.type({Type::f16, Type::f16x2}));
}

void tanh(Decoding& i) {
  i.one_of({"approx"});
  decode_approximate<Tanh>(i, false, i.type(kHalves));
}

}  // namespace

std::span<const Opcode> half_opcodes() {
  constexpr Domain half = Domain::half;
  static const Opcode table[] = {
      {"abs", decode_sign<false>, half},
      {"add", basic<Add>, half},
      {"ex2", ex2, half},
      {"fma", fma, half},
      {"max", decode_extreme<true>, half},
      {"min", decode_extreme<false>, half},
      {"mul", basic<Mul>, half},
      {"neg", decode_sign<true>, half},
      {"sub", basic<Sub>, half},
      {"tanh", tanh, half},
  };
  return table;
}

}  // namespace vgpu
