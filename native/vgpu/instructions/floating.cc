// PTX ISA, "Floating Point Instructions": f32 and f64.
#include <cmath>
#include <limits>

#include "instructions/lanes.h"
#include "instructions/list.h"

namespace vgpu {
namespace {

// .ftz: subnormal operands and results become zeros of the same sign.
inline float flushed(float x) { return std::fabs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x; }
// .sat: to [0, 1], NaN to +0.
inline float saturated(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }

template <class F, bool Ftz, bool Sat>
struct Single {
  template <class... A>
  static float apply(A... a) {
    float r = Ftz ? F::apply(flushed(a)...) : F::apply(a...);
    if (Ftz) r = flushed(r);
    return Sat ? saturated(r) : r;
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
struct Fma {
  static float apply(float a, float b, float c) { return std::fma(a, b, c); }
  static double apply(double a, double b, double c) { return std::fma(a, b, c); }
};

template <class F>
Handler binary_f32(bool ftz, bool sat) {
  return ftz ? (sat ? binary<float, float, float, Single<F, true, true>> : binary<float, float, float, Single<F, true, false>>)
             : (sat ? binary<float, float, float, Single<F, false, true>> : binary<float, float, float, Single<F, false, false>>);
}

// add, sub, mul: {.rnd}{.ftz}{.sat}.f32, {.rnd}.f64
template <class F>
void basic(Decoding& i) {
  i.take("rn");
  const bool ftz = i.take("ftz"), sat = i.take("sat");
  const Type t = ftz || sat ? i.type({Type::f32}) : i.type({Type::f32, Type::f64});
  bind_binary(i, t, t, t);
  i.run(t == Type::f64 ? binary<double, double, double, F> : binary_f32<F>(ftz, sat), OpClass::floating);
}

void fma(Decoding& i) {
  i.one_of({"rn"});
  const bool ftz = i.take("ftz"), sat = i.take("sat");
  const Type t = ftz || sat ? i.type({Type::f32}) : i.type({Type::f32, Type::f64});
  bind_ternary(i, t, t, t, t);
  if (t == Type::f64) return i.run(ternary<double, double, double, double, Fma>, OpClass::floating);
  i.run(ftz ? (sat ? ternary<float, float, float, float, Single<Fma, true, true>> : ternary<float, float, float, float, Single<Fma, true, false>>)
            : (sat ? ternary<float, float, float, float, Single<Fma, false, true>>
                   : ternary<float, float, float, float, Single<Fma, false, false>>),
        OpClass::floating);
}

}  // namespace

std::span<const Opcode> floating_opcodes() {
  constexpr Domain floating = Domain::floating;
  static const Opcode table[] = {
      {"add", basic<Add>, floating},
      {"fma", fma, floating},
      {"mul", basic<Mul>, floating},
      {"sub", basic<Sub>, floating},
  };
  return table;
}

}  // namespace vgpu
