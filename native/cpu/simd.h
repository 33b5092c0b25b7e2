// F32x16: sixteen f32 lanes, the unit in which all CPU kernels are written.
//
// One __m512 on AVX-512, two __m256 on AVX2, otherwise four 16-byte vectors (SSE2 and NEON, through the compiler's generic
// vectors where it has no intrinsic). CPU implementation files are compiled once per instruction set into `caracal::CARACAL_ISA`. Nothing here may
// become a shared symbol, hence the inner namespace and forced inlining. Contraction is off: a product and a sum are only
// fused by an explicit `fma`.
#pragma once

#include "core/dtype.h"

#if defined(__AVX2__) || defined(__AVX512F__)
#pragma GCC diagnostic push  // GCC 12 warns about the undefined pass-through operands of AVX-512 intrinsics
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

// Whether there is an instruction that rounds a product and a sum once.
#if defined(__FMA__) || defined(__aarch64__)
#define CARACAL_FMA 1
#endif

#ifndef CARACAL_ISA
#define CARACAL_ISA scalar
#endif

namespace caracal::CARACAL_ISA {

#if defined(__AVX512F__)
inline constexpr int kParts = 1;
#elif defined(__AVX2__)
inline constexpr int kParts = 2;
#else
inline constexpr int kParts = 4;
#endif
inline constexpr int kPartLanes = 16 / kParts;

// Vectors of one register. The unaligned ones may also alias any type.
typedef float VecF __attribute__((vector_size(64 / kParts)));
typedef int32_t VecI __attribute__((vector_size(64 / kParts)));
typedef uint32_t VecU __attribute__((vector_size(64 / kParts)));
typedef uint16_t VecU16 __attribute__((vector_size(32 / kParts)));
typedef float VecFUnaligned __attribute__((vector_size(64 / kParts), aligned(4), may_alias));
typedef uint16_t VecU16Unaligned __attribute__((vector_size(32 / kParts), aligned(1), may_alias));

#define CARACAL_EACH_PART _Pragma("GCC unroll 4") for (int part = 0; part < kParts; ++part)

struct F32x16 {
  VecF v[kParts];
};

// Lanes are all ones (true) or all zeros.
struct Mask16 {
  VecI v[kParts];
};

struct U32x16 {
  VecU v[kParts];
};

// --- construction, memory -------------------------------------------------------------------------------------------

CARACAL_INLINE F32x16 set1(float value) {
  F32x16 r;
#if defined(__AVX512F__)
  r.v[0] = _mm512_set1_ps(value);
#elif defined(__AVX2__)
  CARACAL_EACH_PART r.v[part] = _mm256_set1_ps(value);
#else
  CARACAL_EACH_PART r.v[part] = VecF{value, value, value, value};
#endif
  return r;
}

CARACAL_INLINE F32x16 zero() {
  F32x16 r;
  CARACAL_EACH_PART r.v[part] = VecF{};
  return r;
}

CARACAL_INLINE U32x16 bits_of(F32x16 a) {
  U32x16 r;
  CARACAL_EACH_PART r.v[part] = (VecU)a.v[part];
  return r;
}

CARACAL_INLINE F32x16 from_bits(U32x16 a) {
  F32x16 r;
  CARACAL_EACH_PART r.v[part] = (VecF)a.v[part];
  return r;
}

CARACAL_INLINE F32x16 load16(const float* p) {
  F32x16 r;
  CARACAL_EACH_PART r.v[part] = *reinterpret_cast<const VecFUnaligned*>(p + part * kPartLanes);
  return r;
}

CARACAL_INLINE void store16(float* p, F32x16 a) {
  CARACAL_EACH_PART* reinterpret_cast<VecFUnaligned*>(p + part * kPartLanes) = a.v[part];
}

// Zero-extends 16 unsigned 16-bit integers.
CARACAL_INLINE U32x16 widen_u16(const uint16_t* p) {
  U32x16 r;
#if defined(__AVX512F__)
  r.v[0] = (VecU)_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__AVX2__)
  CARACAL_EACH_PART r.v[part] =
      (VecU)_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + part * 8)));
#else
  CARACAL_EACH_PART r.v[part] =
      __builtin_convertvector((VecU16)(*reinterpret_cast<const VecU16Unaligned*>(p + part * kPartLanes)), VecU);
#endif
  return r;
}

// Stores the low half of every lane; the high halves must be zero.
CARACAL_INLINE void store_u16(uint16_t* p, U32x16 a) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16((__m512i)a.v[0]));
#elif defined(__AVX2__)
  const __m256i packed = _mm256_packus_epi32((__m256i)a.v[0], (__m256i)a.v[1]);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xd8));
#else
  CARACAL_EACH_PART* reinterpret_cast<VecU16Unaligned*>(p + part * kPartLanes) =
      __builtin_convertvector(a.v[part], VecU16);
#endif
}

CARACAL_INLINE F32x16 load16(const bf16* p) {
  U32x16 r = widen_u16(&p->bits);
  CARACAL_EACH_PART r.v[part] <<= 16;
  return from_bits(r);
}

CARACAL_INLINE void store16(bf16* p, F32x16 a) {
  U32x16 r = bits_of(a);
  CARACAL_EACH_PART {
    const VecU bits = r.v[part];
    const VecU nan = bits >> 16 | 0x40u;
    const VecU rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    r.v[part] = (VecI)(bits & 0x7fffffffu) > 0x7f800000 ? nan : rounded;
  }
  store_u16(&p->bits, r);
}

CARACAL_INLINE F32x16 load16(const f16* p) {
#if defined(__AVX512F__)
  F32x16 r;
  r.v[0] = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return r;
#elif defined(__AVX2__)
  F32x16 r;
  CARACAL_EACH_PART r.v[part] = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + part * 8)));
  return r;
#else
  U32x16 r = widen_u16(&p->bits);
  CARACAL_EACH_PART {  // like the scalar conversion in dtype.h
    const VecU magnitude = r.v[part] & 0x7fffu;
    const VecU finite = (VecU)((VecF)(magnitude << 13) * 0x1p112f);
    const VecU special = magnitude << 13 | 0x7f800000u;
    r.v[part] = ((VecI)magnitude >= 0x7c00 ? special : finite) | (r.v[part] & 0x8000u) << 16;
  }
  return from_bits(r);
#endif
}

CARACAL_INLINE void store16(f16* p, F32x16 a) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a.v[0], _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX2__)
  CARACAL_EACH_PART _mm_storeu_si128(reinterpret_cast<__m128i*>(p + part * 8),
                                     _mm256_cvtps_ph(a.v[part], _MM_FROUND_TO_NEAREST_INT));
#else
  for (int i = 0; i < 16; ++i) p[i] = to_f16(a.v[i / kPartLanes][i % kPartLanes]);
#endif
}

CARACAL_INLINE F32x16 load16(const f8e4m3* p) {
  U32x16 r;
#if defined(__AVX512F__)
  r.v[0] = (VecU)_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#elif defined(__AVX2__)
  CARACAL_EACH_PART r.v[part] =
      (VecU)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + part * 8)));
#else
  CARACAL_EACH_PART {
    const f8e4m3* q = p + part * kPartLanes;
    r.v[part] = VecU{q[0].bits, q[1].bits, q[2].bits, q[3].bits};
  }
#endif
  CARACAL_EACH_PART {  // like the scalar conversion in dtype.h
    const VecU magnitude = r.v[part] & 0x7fu;
    const VecU finite = (VecU)((VecF)(magnitude << 20) * 0x1p120f);
    r.v[part] = ((VecI)magnitude == 0x7f ? VecU{} + 0x7fc00000u : finite) | (r.v[part] & 0x80u) << 24;
  }
  return from_bits(r);
}

// Loads the first n < 16 elements; the other lanes are zero. Does not access memory past p + n.
template <class T>
CARACAL_INLINE F32x16 load_partial(const T* p, int n) {
  T padded[16] = {};
  for (int i = 0; i < n; ++i) padded[i] = p[i];
  return load16(padded);
}

template <class T>
CARACAL_INLINE void store_partial(T* p, F32x16 a, int n) {
  T padded[16];
  store16(padded, a);
  for (int i = 0; i < n; ++i) p[i] = padded[i];
}

// Loads the first `count` <= 16 elements; the other lanes are zero.
template <class T>
CARACAL_INLINE F32x16 load(const T* p, int count) {
  return count == 16 ? load16(p) : load_partial(p, count);
}

template <class T>
CARACAL_INLINE void store(T* p, F32x16 v, int count) {
  if (count == 16)
    store16(p, v);
  else
    store_partial(p, v, count);
}

// --- arithmetic -----------------------------------------------------------------------------------------------------

#define CARACAL_BINARY(op)                                \
  CARACAL_INLINE F32x16 operator op(F32x16 a, F32x16 b) { \
    CARACAL_EACH_PART a.v[part] = a.v[part] op b.v[part]; \
    return a;                                             \
  }                                                       \
  CARACAL_INLINE F32x16& operator op## = (F32x16 & a, F32x16 b) { return a = a op b; }
CARACAL_BINARY(+)
CARACAL_BINARY(-)
CARACAL_BINARY(*)
CARACAL_BINARY(/)
#undef CARACAL_BINARY

CARACAL_INLINE F32x16 operator-(F32x16 a) {
  CARACAL_EACH_PART a.v[part] = -a.v[part];
  return a;
}

// a * b + c, rounded once if the instruction exists, twice in the scalar build.
CARACAL_INLINE F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
#if defined(__AVX512F__)
  c.v[0] = _mm512_fmadd_ps(a.v[0], b.v[0], c.v[0]);
#elif defined(__AVX2__)
  CARACAL_EACH_PART c.v[part] = _mm256_fmadd_ps(a.v[part], b.v[part], c.v[part]);
#elif defined(__aarch64__)
  CARACAL_EACH_PART c.v[part] = vfmaq_f32(c.v[part], a.v[part], b.v[part]);
#else
  CARACAL_EACH_PART c.v[part] = a.v[part] * b.v[part] + c.v[part];
#endif
  return c;
}

CARACAL_INLINE float fma(float a, float b, float c) {
#if defined(CARACAL_FMA)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

CARACAL_INLINE F32x16 sqrt(F32x16 a) {
#if defined(__AVX512F__)
  a.v[0] = _mm512_sqrt_ps(a.v[0]);
#elif defined(__AVX2__)
  CARACAL_EACH_PART a.v[part] = _mm256_sqrt_ps(a.v[part]);
#elif defined(__aarch64__)
  CARACAL_EACH_PART a.v[part] = vsqrtq_f32(a.v[part]);
#else
  CARACAL_EACH_PART for (int i = 0; i < kPartLanes; ++i) a.v[part][i] = __builtin_sqrtf(a.v[part][i]);
#endif
  return a;
}

CARACAL_INLINE F32x16 abs(F32x16 a) {
  CARACAL_EACH_PART a.v[part] = (VecF)((VecU)a.v[part] & 0x7fffffffu);
  return a;
}

// The magnitude of a with the sign of b.
CARACAL_INLINE F32x16 copysign(F32x16 a, F32x16 b) {
  CARACAL_EACH_PART a.v[part] = (VecF)(((VecU)a.v[part] & 0x7fffffffu) | ((VecU)b.v[part] & 0x80000000u));
  return a;
}

// --- comparison, selection ------------------------------------------------------------------------------------------

#define CARACAL_COMPARE(op)                                       \
  CARACAL_INLINE Mask16 operator op(F32x16 a, F32x16 b) {         \
    Mask16 r;                                                     \
    CARACAL_EACH_PART r.v[part] = (VecI)(a.v[part] op b.v[part]); \
    return r;                                                     \
  }
CARACAL_COMPARE(<)
CARACAL_COMPARE(<=)
CARACAL_COMPARE(>)
CARACAL_COMPARE(>=)
CARACAL_COMPARE(==)
CARACAL_COMPARE(!=)
#undef CARACAL_COMPARE

CARACAL_INLINE Mask16 operator&(Mask16 a, Mask16 b) {
  CARACAL_EACH_PART a.v[part] &= b.v[part];
  return a;
}

CARACAL_INLINE Mask16 operator|(Mask16 a, Mask16 b) {
  CARACAL_EACH_PART a.v[part] |= b.v[part];
  return a;
}

CARACAL_INLINE bool any(Mask16 a) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)a.v[0], (__m512i)a.v[0]) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)(a.v[0] | a.v[1])) != 0;
#else
  const VecI found = a.v[0] | a.v[1] | a.v[2] | a.v[3];
  return (found[0] | found[1] | found[2] | found[3]) != 0;
#endif
}

// Per lane: mask ? a : b.
CARACAL_INLINE F32x16 select(Mask16 mask, F32x16 a, F32x16 b) {
  CARACAL_EACH_PART a.v[part] = mask.v[part] ? a.v[part] : b.v[part];
  return a;
}

// Both return b if either is NaN, so max(zero(), x) keeps a NaN of x.
CARACAL_INLINE F32x16 min(F32x16 a, F32x16 b) {
#if defined(__AVX512F__)
  a.v[0] = _mm512_min_ps(a.v[0], b.v[0]);
#elif defined(__AVX2__)
  CARACAL_EACH_PART a.v[part] = _mm256_min_ps(a.v[part], b.v[part]);
#else
  CARACAL_EACH_PART a.v[part] = a.v[part] < b.v[part] ? a.v[part] : b.v[part];
#endif
  return a;
}

CARACAL_INLINE F32x16 max(F32x16 a, F32x16 b) {
#if defined(__AVX512F__)
  a.v[0] = _mm512_max_ps(a.v[0], b.v[0]);
#elif defined(__AVX2__)
  CARACAL_EACH_PART a.v[part] = _mm256_max_ps(a.v[part], b.v[part]);
#else
  CARACAL_EACH_PART a.v[part] = a.v[part] > b.v[part] ? a.v[part] : b.v[part];
#endif
  return a;
}

// Rounds to the nearest integer, ties to even.
CARACAL_INLINE F32x16 round(F32x16 a) {
#if defined(__AVX512F__)
  a.v[0] = _mm512_roundscale_ps(a.v[0], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return a;
#elif defined(__AVX2__)
  CARACAL_EACH_PART a.v[part] = _mm256_round_ps(a.v[part], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return a;
#elif defined(__aarch64__)
  CARACAL_EACH_PART a.v[part] = vrndnq_f32(a.v[part]);
  return a;
#else
  const F32x16 magic = copysign(set1(0x1p23f), a);
  return select(abs(a) < set1(0x1p23f), copysign((a + magic) - magic, a), a);
#endif
}

CARACAL_INLINE F32x16 floor(F32x16 a) {
  const F32x16 nearest = round(a);
  return select(nearest > a, nearest - set1(1.f), nearest);
}

}  // namespace caracal::CARACAL_ISA
