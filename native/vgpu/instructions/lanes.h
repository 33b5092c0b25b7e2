#pragma once
// Applies an instruction's arithmetic to 32 lanes. A functor computes one lane. It must be defined for every value,
// since masked-off lanes are computed too and then discarded.
#include <immintrin.h>

#include "machine/warp.h"
#include "program/decoding.h"

namespace vgpu {

// A register of all-ones elements for the lanes in `mask`: the part-th 32 bytes of a value that takes `Bytes` per lane.
template <size_t Bytes>
inline __m256i lane_bits(uint32_t mask, int part) {
  const auto bits = static_cast<int>(mask >> (32 / Bytes * static_cast<size_t>(part)));
  if constexpr (Bytes == 2) {
    const __m256i bit = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, -32768);
    return _mm256_cmpeq_epi16(_mm256_and_si256(_mm256_set1_epi16(static_cast<short>(bits)), bit), bit);
  } else if constexpr (Bytes == 4) {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(bits), bit), bit);
  } else {
    static_assert(Bytes == 8);
    const __m256i bit = _mm256_setr_epi64x(1, 2, 4, 8);
    return _mm256_cmpeq_epi64(_mm256_and_si256(_mm256_set1_epi64x(bits), bit), bit);
  }
}

// Stores value to d for the lanes in mask.
template <class D>
inline void commit(D* d, const D (&value)[kLanes], uint32_t mask) {
  if (mask == kAllLanes) {
    std::memcpy(d, value, sizeof value);
    return;
  }
  if constexpr (sizeof(D) == 2 || sizeof(D) == 4 || sizeof(D) == 8) {
    auto* to = reinterpret_cast<__m256i*>(d);
    auto* from = reinterpret_cast<const __m256i*>(value);
    for (int i = 0; i < static_cast<int>(sizeof(D)); i++)
      _mm256_storeu_si256(to + i, _mm256_blendv_epi8(_mm256_loadu_si256(to + i), _mm256_loadu_si256(from + i),
                                                     lane_bits<sizeof(D)>(mask, i)));
  } else {
    for (int l = 0; l < kLanes; l++) d[l] = mask >> l & 1 ? value[l] : d[l];
  }
}

// Computes d = value(lane) for the lanes in mask. Operands are other registers or d itself, so with all lanes active no
// temporary is needed.
template <class D, class F>
inline void assign(D* d, uint32_t mask, F&& value) {
  if (mask == kAllLanes) {
#pragma GCC ivdep
    for (int l = 0; l < kLanes; l++) d[l] = value(l);
    return;
  }
  D r[kLanes];
  for (int l = 0; l < kLanes; l++) r[l] = value(l);
  commit(d, r, mask);
}

template <class D, class A, class F>
void unary(Warp& w, const Op& op) {
  const A* a = w.lanes<const A>(op.a);
  assign(w.lanes<D>(op.d), w.mask, [=](int l) -> D { return F::apply(a[l]); });
}

template <class D, class A, class B, class F>
void binary(Warp& w, const Op& op) {
  const A* a = w.lanes<const A>(op.a);
  const B* b = w.lanes<const B>(op.b);
  assign(w.lanes<D>(op.d), w.mask, [=](int l) -> D { return F::apply(a[l], b[l]); });
}

template <class D, class A, class B, class C, class F>
void ternary(Warp& w, const Op& op) {
  const A* a = w.lanes<const A>(op.a);
  const B* b = w.lanes<const B>(op.b);
  const C* c = w.lanes<const C>(op.c);
  assign(w.lanes<D>(op.d), w.mask, [=](int l) -> D { return F::apply(a[l], b[l], c[l]); });
}

// A mask of the lanes whose value is not zero.
template <class T>
inline uint32_t lane_mask(const T (&flags)[kLanes]) {
  uint32_t mask = 0;
  for (int l = 0; l < kLanes; l++) mask |= static_cast<uint32_t>(flags[l] != 0) << l;
  return mask;
}

// A mask of the lanes for which test(lane) holds. `Bytes` is the width of the values tested.
template <size_t Bytes, class F>
inline uint32_t lanes_where(F&& test) {
  using Flag = std::conditional_t<Bytes == 8, int64_t, std::conditional_t<Bytes == 4, int32_t, int16_t>>;
  Flag flags[kLanes];
  for (int l = 0; l < kLanes; l++) flags[l] = test(l) ? Flag{-1} : Flag{0};
  auto part = [&](size_t i) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(flags) + i); };
  uint32_t mask = 0;
  if constexpr (Bytes == 8) {
    for (size_t i = 0; i < 8; i++)
      mask |= static_cast<uint32_t>(_mm256_movemask_pd(_mm256_castsi256_pd(part(i)))) << 4 * i;
  } else if constexpr (Bytes == 4) {
    for (size_t i = 0; i < 4; i++)
      mask |= static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(part(i)))) << 8 * i;
  } else {
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi16(part(0), part(1)), 0xd8);
    mask = static_cast<uint32_t>(_mm256_movemask_epi8(packed));
  }
  return mask;
}

// Calls fn with a value-initialised object of the C++ type of an integer PTX type.
template <class F>
Handler on_integer(Type t, F&& fn) {
  switch (t) {
    case Type::b8:
    case Type::u8: return fn(uint8_t{});
    case Type::s8: return fn(int8_t{});
    case Type::b16:
    case Type::u16: return fn(uint16_t{});
    case Type::s16: return fn(int16_t{});
    case Type::b32:
    case Type::u32: return fn(uint32_t{});
    case Type::s32: return fn(int32_t{});
    case Type::b64:
    case Type::u64: return fn(uint64_t{});
    case Type::s64: return fn(int64_t{});
    default: return nullptr;
  }
}

// Bind d, a, b and so on in the order in which PTX writes them.
inline void bind_unary(Decoding& i, Type d, Type a) {
  i.expect(2);
  i.op().a = i.read(1, a);
  i.op().d = i.write(0, d);
}
inline void bind_binary(Decoding& i, Type d, Type a, Type b) {
  i.expect(3);
  i.op().a = i.read(1, a);
  i.op().b = i.read(2, b);
  i.op().d = i.write(0, d);
}
inline void bind_ternary(Decoding& i, Type d, Type a, Type b, Type c) {
  i.expect(4);
  i.op().a = i.read(1, a);
  i.op().b = i.read(2, b);
  i.op().c = i.read(3, c);
  i.op().d = i.write(0, d);
}

}  // namespace vgpu
