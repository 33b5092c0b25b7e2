#pragma once
// The error bounds that the PTX ISA gives for approximate instructions. Results here are exact up to one final
// rounding. With Options::approximate they err by up to what the ISA allows, which exposes code that relies on more.
#include <cmath>
#include <cstdint>

#include "machine/block.h"
#include "machine/launch.h"
#include "machine/warp.h"

namespace vgpu {

struct Bound {
  enum class Kind : uint8_t { ulp, relative, absolute } kind;
  double error;
};

namespace bounds {
inline const Bound div_approx{Bound::Kind::ulp, 2};  // if |b| is in [2^-126, 2^126]
inline const Bound div_full{Bound::Kind::ulp, 2};
inline const Bound rcp{Bound::Kind::ulp, 1};
inline const Bound sqrt{Bound::Kind::relative, std::exp2(-23.0)};
inline const Bound rsqrt{Bound::Kind::relative, std::exp2(-22.9)};
inline const Bound sine{Bound::Kind::absolute, std::exp2(-20.5)};      // sin, cos: in [-2pi, 2pi]
inline const Bound sine_far{Bound::Kind::absolute, std::exp2(-14.7)};  // in [-100pi, 100pi]; unspecified beyond
inline const Bound lg2_near{Bound::Kind::absolute, std::exp2(-22.0)};  // in (0.5, 2)
inline const Bound lg2{Bound::Kind::relative, std::exp2(-22.0)};
inline const Bound ex2{Bound::Kind::ulp, 2};
inline const Bound tanh{Bound::Kind::relative, std::exp2(-11.0)};
inline const Bound tanh_f16{Bound::Kind::absolute, std::exp2(-10.987)};
inline const Bound tanh_bf16{Bound::Kind::absolute, std::exp2(-8.0)};
inline const Bound ex2_f16{Bound::Kind::relative, std::exp2(-9.9)};
inline const Bound ex2_bf16{Bound::Kind::relative, std::exp2(-7.0)};
// rcp.approx.ftz.f64 and rsqrt.approx.ftz.f64 are "gross": they have no bound, and the result has 20 bits of mantissa.
}  // namespace bounds

// A value within the bound around `exact`, determined by operand and seed. `bits` is the mantissa width of the result
// format: half an ulp is left for the final rounding. Zeros, ones and infinities stay exact.
inline double disturbed(double exact, const Bound& bound, int bits, uint64_t operand, uint64_t seed) {
  if (exact == 0 || std::fabs(exact) == 1 || !std::isfinite(exact)) return exact;
  uint64_t h = (operand + 1) * 0x9e3779b97f4a7c15ull ^ (seed + 1) * 0xc2b2ae3d27d4eb4full;
  h = (h ^ h >> 31) * 0xbf58476d1ce4e5b9ull;
  h ^= h >> 29;
  const double unit = static_cast<double>(static_cast<int64_t>(h)) * 0x1p-63;  // [-1, 1)
  auto ulp = [bits](double x) { return std::exp2(std::ilogb(x) - bits); };
  const double allowed = bound.kind == Bound::Kind::ulp        ? bound.error * ulp(exact)
                         : bound.kind == Bound::Kind::relative ? bound.error * std::fabs(exact)
                                                               : bound.error;
  // An ulp doubles at a power of two.
  const bool grows = (unit > 0) == (exact > 0);
  return exact + unit * std::fmax(allowed - 0.5 * ulp(grows ? std::fabs(exact) + allowed : exact), 0.0);
}

// The options if results are to be disturbed, else null.
inline const Options* disturbing(const Warp& w) {
  return w.block.launch.options.approximate ? &w.block.launch.options : nullptr;
}

}  // namespace vgpu
