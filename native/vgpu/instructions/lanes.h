#pragma once
// How an instruction's arithmetic is applied to 32 lanes. A functor says what happens to one; it must be defined for
// every value, since lanes that are masked off are computed too and thrown away.
#include "machine/warp.h"
#include "program/decoding.h"

namespace vgpu {

// d = value in the lanes of mask; the others stay.
template <class D>
inline void commit(D* d, const D (&value)[kLanes], uint32_t mask) {
  if (mask == kAllLanes) {
    std::memcpy(d, value, sizeof value);
    return;
  }
  for (int l = 0; l < kLanes; l++) d[l] = mask >> l & 1 ? value[l] : d[l];
}

template <class D, class A, class F>
void unary(Warp& w, const Op& op) {
  D* d = w.lanes<D>(op.d);
  const A* a = w.lanes<const A>(op.a);
  D r[kLanes];
  for (int l = 0; l < kLanes; l++) r[l] = F::apply(a[l]);
  commit(d, r, w.mask);
}

template <class D, class A, class B, class F>
void binary(Warp& w, const Op& op) {
  const A* a = w.lanes<const A>(op.a);
  const B* b = w.lanes<const B>(op.b);
  D r[kLanes];
  for (int l = 0; l < kLanes; l++) r[l] = F::apply(a[l], b[l]);
  commit(w.lanes<D>(op.d), r, w.mask);
}

template <class D, class A, class B, class C, class F>
void ternary(Warp& w, const Op& op) {
  const A* a = w.lanes<const A>(op.a);
  const B* b = w.lanes<const B>(op.b);
  const C* c = w.lanes<const C>(op.c);
  D r[kLanes];
  for (int l = 0; l < kLanes; l++) r[l] = F::apply(a[l], b[l], c[l]);
  commit(w.lanes<D>(op.d), r, w.mask);
}

// The bit of every lane whose value is not zero.
template <class T>
inline uint32_t lane_mask(const T (&flags)[kLanes]) {
  uint32_t mask = 0;
  for (int l = 0; l < kLanes; l++) mask |= static_cast<uint32_t>(flags[l] != 0) << l;
  return mask;
}

// Calls fn with a value of the C++ type of a PTX type: on_type<Uints…>(t, [&](auto zero) { using T = decltype(zero); … }).
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

// d, a, b and so on of one type, in the order in which PTX writes them.
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
