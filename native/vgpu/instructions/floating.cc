// PTX ISA, "Floating Point Instructions": f32 and f64.
#include <cmath>

#include "instructions/approximation.h"
#include "instructions/lanes.h"
#include "instructions/list.h"
#include "instructions/numbers.h"

namespace vgpu {
namespace {

// A single-precision operation with .ftz and .sat.
template <class F, bool Ftz, bool Sat>
struct Single {
  template <class... A>
  static float apply(A... a) {
    float r = Ftz ? F::apply(flushed(a)...) : F::apply(a...);
    if (Ftz) r = flushed(r);
    return Sat ? saturated(r) : canonical(r);
  }
};

struct Add {
  template <class T>
  static T apply(T a, T b) {
    return a + b;
  }
};
struct Sub {
  template <class T>
  static T apply(T a, T b) {
    return a - b;
  }
};
struct Mul {
  template <class T>
  static T apply(T a, T b) {
    return a * b;
  }
};
struct Div {
  template <class T>
  static T apply(T a, T b) {
    return a / b;
  }
};
struct Fma {
  static float apply(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
  static double apply(double a, double b, double c) { return __builtin_fma(a, b, c); }
};
struct Rcp {
  template <class T>
  static T apply(T a) {
    return T{1} / a;
  }
};
struct Sqrt {
  static float apply(float a) { return __builtin_sqrtf(a); }
  static double apply(double a) { return __builtin_sqrt(a); }
};
struct Abs {
  template <class T>
  static T apply(T a) {
    return std::fabs(a);
  }
};
struct Neg {
  template <class T>
  static T apply(T a) {
    return -a;
  }
};

// abs and neg change the sign of a NaN too; the ISA leaves its sign unspecified.
template <class F>
struct Flushing {
  static float apply(float a) { return F::apply(flushed(a)); }
};

template <Handler H>
void directed(Warp& w, const Op& op) {
  const RoundingScope scope(static_cast<Rounding>(op.flags));
  H(w, op);
}

template <int N, class T, class F>
Handler handler(Rounding r) {
  constexpr Handler h = [] {
    if constexpr (N == 1)
      return unary<T, T, F>;
    else if constexpr (N == 2)
      return binary<T, T, T, F>;
    else
      return ternary<T, T, T, T, F>;
  }();
  return r == Rounding::nearest ? h : directed<h>;
}

// An operation on f32 or f64 with N operands.
template <int N, class F>
void arithmetic(Decoding& i, Rounding rounding, bool allow_sat) {
  const bool ftz = i.take("ftz"), sat = allow_sat && i.take("sat");
  const Type t = ftz || sat ? i.type({Type::f32}) : i.type({Type::f32, Type::f64});
  N == 1 ? bind_unary(i, t, t) : N == 2 ? bind_binary(i, t, t, t) : bind_ternary(i, t, t, t, t);
  i.op().flags = static_cast<uint8_t>(rounding);
  i.run(t == Type::f64 ? handler<N, double, F>(rounding)
        : ftz          ? (sat ? handler<N, float, Single<F, true, true>>(rounding)
                              : handler<N, float, Single<F, true, false>>(rounding))
                       : (sat ? handler<N, float, Single<F, false, true>>(rounding)
                              : handler<N, float, Single<F, false, false>>(rounding)),
        OpClass::floating);
}

Rounding required_rounding(Decoding& i) { return static_cast<Rounding>(i.one_of({"rn", "rz", "rm", "rp"})); }

// add, sub, mul: {.rnd}{.ftz}{.sat}.f32, {.rnd}.f64
template <class F>
void basic(Decoding& i) {
  const int rounding = i.take_any({"rn", "rz", "rm", "rp"});
  arithmetic<2, F>(i, rounding < 0 ? Rounding::nearest : static_cast<Rounding>(rounding), true);
}

// fma, and mad, which is the same on sm_20 and later.
void fma(Decoding& i) { arithmetic<3, Fma>(i, required_rounding(i), true); }

template <class F>
void sign(Decoding& i) {
  const bool ftz = i.take("ftz");
  const Type t = ftz ? i.type({Type::f32}) : i.type({Type::f32, Type::f64});
  bind_unary(i, t, t);
  i.run(t == Type::f64 ? unary<double, double, F>
        : ftz          ? unary<float, float, Flushing<F>>
                       : unary<float, float, F>,
        OpClass::floating);
}

template <bool Max>
void extreme(Decoding& i) {
  const bool ftz = i.take("ftz"), nan = i.take("NaN"), xorsign = i.take("xorsign");
  if (xorsign) {
    i.one_of({"abs"});
    i.needs(86);
  }
  const Type t = ftz || nan || xorsign ? i.type({Type::f32}) : i.type({Type::f32, Type::f64});
  bind_binary(i, t, t, t);
  if (t == Type::f64) return i.run(binary<double, double, double, Extreme<Max, false, false>>, OpClass::floating);
  auto pick = [&]<bool Nan, bool XorSign>() -> Handler {
    using E = Extreme<Max, Nan, XorSign>;
    return ftz ? binary<float, float, float, Single<E, true, false>> : binary<float, float, float, E>;
  };
  i.run(nan ? (xorsign ? pick.template operator()<true, true>() : pick.template operator()<true, false>())
            : (xorsign ? pick.template operator()<false, true>() : pick.template operator()<false, false>()),
        OpClass::floating);
}

struct Copysign {
  template <class T>
  static T apply(T a, T b) {
    return std::copysign(b, a);
  }
};
void copysign(Decoding& i) {
  const Type t = i.type({Type::f32, Type::f64});
  bind_binary(i, t, t, t);
  i.run(t == Type::f32 ? binary<float, float, float, Copysign> : binary<double, double, double, Copysign>,
        OpClass::floating);
}

enum Test { finite, infinite, number, notanumber, normal, subnormal };
template <class T>
void testp(Warp& w, const Op& op) {
  const T* a = w.lanes<const T>(op.a);
  auto where = [&](auto&& test) { return lanes_where<sizeof(T)>([&](int l) { return test(std::fabs(a[l])); }); };
  constexpr T infinity = std::numeric_limits<T>::infinity(), min_normal = std::numeric_limits<T>::min();
  uint32_t r = 0;
  switch (op.flags) {
    case finite: r = where([](T x) { return x < infinity; }); break;
    case infinite: r = where([](T x) { return x == infinity; }); break;
    case number: r = where([](T x) { return x == x; }); break;
    case notanumber: r = where([](T x) { return x != x; }); break;
    case normal: r = where([](T x) { return x >= min_normal && x < infinity; }); break;
    case subnormal: r = where([](T x) { return x > 0 && x < min_normal; }); break;
  }
  w.set_predicate(op.d, r);
}
void decode_testp(Decoding& i) {
  i.op().flags = static_cast<uint8_t>(i.one_of({"finite", "infinite", "number", "notanumber", "normal", "subnormal"}));
  const Type t = i.type({Type::f32, Type::f64});
  i.expect(2);
  i.op().a = i.read(1, t);
  i.op().d = i.write_predicate(i.operand(0));
  i.run(t == Type::f32 ? testp<float> : testp<double>, OpClass::floating);
}

// --- approximate -----------------------------------------------------------------------------------------------------

// An approximate function of one operand, computed in double precision, so that only the rounding to single matters.
template <class F, bool Ftz>
void approximate(Warp& w, const Op& op) {
  const float* a = w.lanes<const float>(op.a);
  const Options* disturb = disturbing(w);
  float r[kLanes];
  for (int l = 0; l < kLanes; l++) {
    const float x = Ftz ? flushed(a[l]) : a[l];
    double exact = F::exact(x);
    if (disturb) exact = disturbed(exact, F::bound(x), 23, std::bit_cast<uint32_t>(x), disturb->seed);
    const auto rounded = static_cast<float>(exact);
    r[l] = canonical(Ftz ? flushed(rounded) : rounded);
  }
  commit(w.lanes<float>(op.d), r, w.mask);
}

struct RcpApprox {
  static double exact(double x) { return 1 / x; }
  static const Bound& bound(float) { return bounds::rcp; }
};
struct SqrtApprox {
  static double exact(double x) { return std::sqrt(x); }
  static const Bound& bound(float) { return bounds::sqrt; }
};
struct Rsqrt {
  static double exact(double x) { return 1 / std::sqrt(x); }
  static const Bound& bound(float) { return bounds::rsqrt; }
};
struct Sin {
  static double exact(double x) { return std::sin(x); }
  static const Bound& bound(float x) { return std::fabs(x) <= 2 * M_PI ? bounds::sine : bounds::sine_far; }
};
struct Cos {
  static double exact(double x) { return std::cos(x); }
  static const Bound& bound(float x) { return Sin::bound(x); }
};
struct Lg2 {
  static double exact(double x) { return std::log2(x); }
  static const Bound& bound(float x) { return x > 0.5f && x < 2 ? bounds::lg2_near : bounds::lg2; }
};
struct Ex2 {
  static double exact(double x) { return std::exp2(x); }
  static const Bound& bound(float) { return bounds::ex2; }
};
struct Tanh {
  static double exact(double x) { return std::tanh(x); }
  static const Bound& bound(float) { return bounds::tanh; }
};

// .approx{.ftz}.f32, after .approx
template <class F>
void decode_approximate(Decoding& i) {
  const bool ftz = i.take("ftz");
  i.type({Type::f32});
  bind_unary(i, Type::f32, Type::f32);
  i.run(ftz ? approximate<F, true> : approximate<F, false>, OpClass::floating);
}
template <class F>
void only_approximate(Decoding& i) {
  i.one_of({"approx"});
  decode_approximate<F>(i);
}
void tanh(Decoding& i) {
  i.one_of({"approx"});
  i.type({Type::f32});
  bind_unary(i, Type::f32, Type::f32);
  i.run(approximate<Tanh, false>, OpClass::floating);
}

// div.approx is a * (1 / b): the reciprocal of the largest b underflows to zero. The error bound holds for |b| up to
// 2^126.
template <bool Full, bool Ftz>
void divide(Warp& w, const Op& op) {
  const float *a = w.lanes<const float>(op.a), *b = w.lanes<const float>(op.b);
  const Options* disturb = disturbing(w);
  float r[kLanes];
  for (int l = 0; l < kLanes; l++) {
    const float x = Ftz ? flushed(a[l]) : a[l], y = Ftz ? flushed(b[l]) : b[l];
    const bool lost = !Full && std::fabs(y) > 0x1p126f;
    double exact = lost ? x * std::copysign(0.0, y) : static_cast<double>(x) / y;
    if (disturb) {
      const uint64_t operands = uint64_t{std::bit_cast<uint32_t>(x)} << 32 | std::bit_cast<uint32_t>(y);
      exact = disturbed(exact, Full ? bounds::div_full : bounds::div_approx, 23, operands, disturb->seed);
    }
    const auto rounded = static_cast<float>(exact);
    r[l] = canonical(Ftz ? flushed(rounded) : rounded);
  }
  commit(w.lanes<float>(op.d), r, w.mask);
}

void div(Decoding& i) {
  const int approximation = i.take_any({"approx", "full"});
  if (approximation < 0) return arithmetic<2, Div>(i, required_rounding(i), false);
  const bool ftz = i.take("ftz");
  i.type({Type::f32});
  bind_binary(i, Type::f32, Type::f32, Type::f32);
  i.run(approximation == 0 ? (ftz ? divide<false, true> : divide<false, false>)
                           : (ftz ? divide<true, true> : divide<true, false>),
        OpClass::floating);
}

// .approx.ftz.f64: only the upper words of operand and result are significant.
template <class F>
void upper_word(Warp& w, const Op& op) {
  const auto* a = w.lanes<const uint64_t>(op.a);
  assign(w.lanes<uint64_t>(op.d), w.mask, [=](int l) -> uint64_t {
    constexpr uint64_t sign = uint64_t{1} << 63, hidden = uint64_t{1} << 52;
    uint64_t x = a[l] >> 32 << 32;
    if ((x & ~sign) < hidden) x &= sign;
    const double exact = F::exact(std::bit_cast<double>(x));
    if (exact != exact) return 0x7fffffff00000000;
    const auto r = std::bit_cast<uint64_t>(exact);
    if ((r & ~sign) < hidden) return r & sign;
    return (r + 0x7fffffff + (r >> 32 & 1)) >> 32 << 32;
  });
}

void rcp(Decoding& i) {
  if (!i.take("approx")) return arithmetic<1, Rcp>(i, required_rounding(i), false);
  if (!i.instruction().head.ends_with("f64")) return decode_approximate<RcpApprox>(i);
  i.one_of({"ftz"});
  i.type({Type::f64});
  bind_unary(i, Type::f64, Type::f64);
  i.run(upper_word<RcpApprox>, OpClass::floating);
}

void sqrt(Decoding& i) {
  if (i.take("approx")) return decode_approximate<SqrtApprox>(i);
  arithmetic<1, Sqrt>(i, required_rounding(i), false);
}

struct Rsqrt64 {
  static double apply(double a) { return 1 / __builtin_sqrt(a); }
};
void rsqrt(Decoding& i) {
  i.one_of({"approx"});
  if (!i.instruction().head.ends_with("f64")) return decode_approximate<Rsqrt>(i);
  const bool ftz = i.take("ftz");
  i.type({Type::f64});
  bind_unary(i, Type::f64, Type::f64);
  i.run(ftz ? upper_word<Rsqrt> : unary<double, double, Rsqrt64>, OpClass::floating);
}

}  // namespace

std::span<const Opcode> floating_opcodes() {
  constexpr Domain floating = Domain::floating;
  static const Opcode table[] = {
      {"abs", sign<Abs>, floating},
      {"add", basic<Add>, floating},
      {"copysign", copysign},
      {"cos", only_approximate<Cos>},
      {"div", div, floating},
      {"ex2", only_approximate<Ex2>, floating},
      {"fma", fma, floating},
      {"lg2", only_approximate<Lg2>},
      {"mad", fma, floating},
      {"max", extreme<true>, floating},
      {"min", extreme<false>, floating},
      {"mul", basic<Mul>, floating},
      {"neg", sign<Neg>, floating},
      {"rcp", rcp},
      {"rsqrt", rsqrt},
      {"sin", only_approximate<Sin>},
      {"sqrt", sqrt},
      {"sub", basic<Sub>, floating},
      {"tanh", tanh, floating},
      {"testp", decode_testp},
  };
  return table;
}

}  // namespace vgpu
