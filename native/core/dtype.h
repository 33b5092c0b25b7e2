// Element types and their scalar conversions, shared by every backend.
//
// Narrowing rounds to nearest even and keeps NaN. Everything here is forced inline: the same header is compiled for
// several instruction sets, and an out-of-line copy could be linked into code that must run on an older CPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(_MSC_VER)
#define CARACAL_INLINE __forceinline
#else
#define CARACAL_INLINE inline __attribute__((always_inline))
#endif

namespace caracal {

// q4 and q8 are the codes of packed weights (core/packed_weight.h): no plain tensor has them.
enum class DType : uint8_t { f32, f16, bf16, f8e4m3, i32, u8, q4, q8 };
inline constexpr int kTensorDTypes = 6;  // those of plain tensors come first

struct bf16 {
  uint16_t bits;
};

// IEEE binary16.
struct f16 {
  uint16_t bits;
};

// OCP E4M3 without infinities: largest magnitude 448, NaN is 0x7f or 0xff.
struct f8e4m3 {
  uint8_t bits;
};

// Of one element of a plain tensor.
CARACAL_INLINE constexpr size_t dtype_bytes(DType type) {
  return type == DType::f32 || type == DType::i32 ? 4 : type == DType::f16 || type == DType::bf16 ? 2 : 1;
}

// In the order of DType.
inline constexpr const char* kDTypeNames[] = {"f32", "f16", "bf16", "f8e4m3", "i32", "u8", "q4", "q8"};

CARACAL_INLINE constexpr const char* dtype_name(DType type) { return kDTypeNames[static_cast<int>(type)]; }

CARACAL_INLINE uint32_t float_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}

CARACAL_INLINE float float_from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

CARACAL_INLINE float to_float(float value) { return value; }

CARACAL_INLINE float to_float(bf16 value) { return float_from_bits(uint32_t{value.bits} << 16); }

CARACAL_INLINE float to_float(f16 value) {
  const uint32_t magnitude = value.bits & 0x7fffu;
  // Shifting into the f32 fields leaves the exponent 112 too low; the multiplication also normalises subnormals.
  float result = float_from_bits(magnitude << 13) * 0x1p112f;
  if (magnitude >= 0x7c00u) result = float_from_bits(0x7f800000u | magnitude << 13);
  return float_from_bits(float_bits(result) | (value.bits & 0x8000u) << 16);
}

CARACAL_INLINE float to_float(f8e4m3 value) {
  const uint32_t magnitude = value.bits & 0x7fu;
  float result = float_from_bits(magnitude << 20) * 0x1p120f;
  if (magnitude == 0x7fu) result = float_from_bits(0x7fc00000u);
  return float_from_bits(float_bits(result) | (value.bits & 0x80u) << 24);
}

CARACAL_INLINE bf16 to_bf16(float value) {
  const uint32_t bits = float_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>(bits >> 16 | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

CARACAL_INLINE f16 to_f16(float value) {
  const uint32_t bits = float_bits(value);
  const uint32_t sign = bits >> 16 & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u | (magnitude >> 13 & 0x1ffu);
  } else if (magnitude >= 0x477ff000u) {  // 65520 and above round to infinity
    half = 0x7c00u;
  } else if (magnitude < 0x38800000u) {  // subnormal: adding 0.5 makes the FPU round at the last f16 bit
    half = float_bits(float_from_bits(magnitude) + 0.5f) - 0x3f000000u;
  } else {
    half = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  }
  return {static_cast<uint16_t>(sign | half)};
}

// Saturates at 448, infinities included (as `cvt.rn.satfinite.e4m3x2.f32` does).
CARACAL_INLINE f8e4m3 to_f8e4m3(float value) {
  const uint32_t bits = float_bits(value);
  const uint32_t sign = bits >> 24 & 0x80u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t code;
  if (magnitude > 0x7f800000u) {
    code = 0x7fu;
  } else if (magnitude >= 0x43e00000u) {  // 448
    code = 0x7eu;
  } else if (magnitude < 0x3c800000u) {  // below 2^-6: subnormal, one unit is 2^-9
    code = float_bits(float_from_bits(magnitude) + 0x1p14f) - float_bits(0x1p14f);
  } else {
    code = (magnitude - 0x3c000000u + 0x7ffffu + (magnitude >> 20 & 1u)) >> 20;
  }
  return {static_cast<uint8_t>(sign | code)};
}

template <class T>
CARACAL_INLINE T from_float(float value) = delete;
template <>
CARACAL_INLINE float from_float<float>(float value) {
  return value;
}
template <>
CARACAL_INLINE bf16 from_float<bf16>(float value) {
  return to_bf16(value);
}
template <>
CARACAL_INLINE f16 from_float<f16>(float value) {
  return to_f16(value);
}
template <>
CARACAL_INLINE f8e4m3 from_float<f8e4m3>(float value) {
  return to_f8e4m3(value);
}

}  // namespace caracal
