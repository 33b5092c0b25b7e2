#pragma once
// How the panels of each dtype are read in registers: Code<W>::weights<I>(p) widens sixteen weights to f32 in row order.
//   kStep      elements of k that are stored together; p points at them, and I < kStep chooses one
//   kBytes     their bytes, for sixteen rows
//   kUnroll    elements of k per iteration of a tile
//   kScaled    whether sums are scaled after each chain, so that the widened weights are only codes
//   kBiased    whether a chain has a scale and a bias per row, rather than one scale for all
// The rows of x are prepared for scaled dtypes (gemm_rows.h): kFactors says by which power of two element I of a step was
// multiplied, to cancel that of its code's position.
#include <utility>

#include "cpu/gemm_kernel.h"
#include "cpu/gemm_panels.h"
#include "cpu/simd.h"

namespace caracal::CARACAL_ISA {

// A step of 32 bytes as lanes: all eight in both halves of a vector on AVX-512, otherwise one vector for each half of the
// sixteen rows' vectors.
struct Lanes8 {
  VecU v[kParts < 2 ? 1 : kParts / 2];
};

CARACAL_INLINE Lanes8 load_lanes8(const std::byte* p) {
  Lanes8 r;
#if defined(__AVX512F__)
  r.v[0] = (VecU)_mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#else
  typedef uint32_t Unaligned __attribute__((vector_size(64 / kParts), aligned(1), may_alias));
#pragma GCC unroll 2
  for (int i = 0; i < kParts / 2; i++) r.v[i] = *reinterpret_cast<const Unaligned*>(p + i * kPartLanes * 4);
#endif
  return r;
}

// Shifts the lanes left: by `low` for rows 0 to 7, by `high` for rows 8 to 15.
CARACAL_INLINE U32x16 shift_left(const Lanes8& lanes, int low, int high) {
  U32x16 r;
#if defined(__AVX512F__)
  const __m512i count = _mm512_inserti64x4(_mm512_set1_epi32(low), _mm256_set1_epi32(high), 1);
  r.v[0] = (VecU)_mm512_sllv_epi32((__m512i)lanes.v[0], count);
#else
  constexpr int half = kParts / 2;
#pragma GCC unroll 2
  for (int i = 0; i < half; i++) {
    r.v[i] = lanes.v[i] << low;
    r.v[i + half] = lanes.v[i] << high;
  }
#endif
  return r;
}

CARACAL_INLINE F32x16 to_floats(U32x16 a) {  // below 2^31
  F32x16 r;
  CARACAL_EACH_PART {
#if defined(__AVX512F__)
    r.v[part] = _mm512_cvtepi32_ps((__m512i)a.v[part]);
#elif defined(__AVX2__)
    r.v[part] = _mm256_cvtepi32_ps((__m256i)a.v[part]);
#else
    r.v[part] = __builtin_convertvector((VecI)a.v[part], VecF);
#endif
  }
  return r;
}

#if defined(__AVX2__) && !defined(__AVX512F__)
// The same 32 bits in every lane, in memory.
template <uint32_t Bits>
alignas(32) inline constexpr uint32_t kMask[8] = {Bits, Bits, Bits, Bits, Bits, Bits, Bits, Bits};
#endif

// a & Bits. On AVX2 the mask is an operand in memory: GCC 12 would load it into one of the sixteen registers, and spill a
// sum instead.
template <uint32_t Bits>
CARACAL_INLINE VecU masked(VecU a) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  VecU r;
  asm("vpand %2, %1, %0" : "=x"(r) : "x"(a), "m"(kMask<Bits>));
  return r;
#else
  return a & Bits;
#endif
}

template <class W>
struct Code;

template <>
struct Code<float> {
  static constexpr int kStep = 1, kBytes = 64, kUnroll = 4;
  static constexpr bool kScaled = false, kBiased = false;
  template <int I>
  static CARACAL_INLINE F32x16 weights(const std::byte* p) {
    return load16(reinterpret_cast<const float*>(p));
  }
};

template <>
struct Code<bf16> {
  static constexpr int kStep = 1, kBytes = 32, kUnroll = 4;
  static constexpr bool kScaled = false, kBiased = false;
  template <int I>
  static CARACAL_INLINE F32x16 weights(const std::byte* p) {
    const Lanes8 pairs = load_lanes8(p);
    F32x16 r;
#if defined(__AVX512F__)
    const __m512i high = _mm512_and_si512((__m512i)pairs.v[0], _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
    r.v[0] = (VecF)_mm512_mask_slli_epi32(high, 0x00ff, (__m512i)pairs.v[0], 16);
#else
    constexpr int half = kParts / 2;
#pragma GCC unroll 2
    for (int i = 0; i < half; i++) {
      r.v[i] = (VecF)(pairs.v[i] << 16);
      r.v[i + half] = (VecF)masked<0xffff0000u>(pairs.v[i]);
    }
#endif
    return r;
  }
};

// Shifted into the fields of an f32, an e4m3 code reads as its value times 2^-120, subnormals included. The rows of x make
// up for it: without a multiplication per weight, subnormal codes cost nothing on most processors.
template <>
struct Code<f8e4m3> {
  static constexpr int kStep = 2, kBytes = 32, kUnroll = 4;
  static constexpr bool kScaled = true, kBiased = false;
  template <int I>
  static CARACAL_INLINE F32x16 weights(const std::byte* p) {
    U32x16 code;
#if defined(__AVX2__) && !defined(__AVX512F__)
    // Codes are shifted as pairs of 16 bits, so that one shift and one mask serve sixteen of them.
    const __m256i lanes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i top = I == 0 ? _mm256_slli_epi16(lanes, 8) : lanes;
    const VecU fields = masked<0x87f087f0u>((VecU)_mm256_srai_epi16(top, 4));
    code.v[0] = fields << 16;
    code.v[1] = masked<0xffff0000u>(fields);
#else
    code = shift_left(load_lanes8(p), 24 - 8 * I, 8 - 8 * I);
    CARACAL_EACH_PART code.v[part] = masked<0x87f00000u>((VecU)((VecI)code.v[part] >> 4));
#endif
    return from_bits(code);
  }
};

template <>
struct Code<q8> {
  static constexpr int kStep = 4, kBytes = 64, kUnroll = 4;
  static constexpr bool kScaled = true, kBiased = true;
  static constexpr float kFactors[] = {1, 0x1p-8f, 0x1p-16f, 1};
  template <int I>
  static CARACAL_INLINE F32x16 weights(const std::byte* p) {
    U32x16 r = bits_of(load16(reinterpret_cast<const float*>(p)));
    CARACAL_EACH_PART r.v[part] = I == 3 ? r.v[part] >> 24 : masked<0xffu << 8 * I>(r.v[part]);
    return to_floats(r);
  }
};

template <>
struct Code<q4> {
  static constexpr int kStep = 4, kBytes = 32, kUnroll = 8;
  static constexpr bool kScaled = true, kBiased = true;
  static constexpr float kFactors[] = {1, 0x1p-8f, 0x1p-16f, 0x1p-24f};
  template <int I>
  static CARACAL_INLINE F32x16 weights(const std::byte* p) {
    const Lanes8 lanes = load_lanes8(p);
    U32x16 r;
#if defined(__AVX512F__)
    const __m512i count = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi32(4), 1);
    r.v[0] = (VecU)_mm512_srlv_epi32((__m512i)lanes.v[0], count);
#else
    constexpr int half = kParts / 2;
#pragma GCC unroll 2
    for (int h = 0; h < half; h++) {
      r.v[h] = lanes.v[h];
      r.v[h + half] = lanes.v[h] >> 4;
    }
#endif
    CARACAL_EACH_PART r.v[part] = masked<0xfu << 8 * I>(r.v[part]);
    return to_floats(r);
  }
};

template <>
struct Code<WideCodes> : Code<float> {
  static constexpr bool kScaled = true, kBiased = true;
};

// Sixteen scales, if `first` is 0, or the biases that follow them.
CARACAL_INLINE F32x16 load_scales(const std::byte* p, int64_t first, DType dtype) {
  if (dtype == DType::bf16) return load16(reinterpret_cast<const bf16*>(p) + first);
  if (dtype == DType::f16) return load16(reinterpret_cast<const f16*>(p) + first);
  return load16(reinterpret_cast<const float*>(p) + first);
}

// Calls fn.operator()<I>() for every element I of a step.
template <class W, class Fn>
CARACAL_INLINE void each_of_step(Fn&& fn) {
  [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
    (fn.template operator()<I>(), ...);
  }(std::make_integer_sequence<int, Code<W>::kStep>{});
}

}  // namespace caracal::CARACAL_ISA
