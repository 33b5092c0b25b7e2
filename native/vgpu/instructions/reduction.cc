// The reductions of red.async and cp.reduce.async.bulk.
#include "machine/reduction.h"

#include <cstring>

#include "instructions/atomic_operations.h"

namespace vgpu {
namespace {

using namespace atomic;

template <class T, class F>
void combine(std::byte* at, const std::byte* value, bool exclusive) {
  T b;
  std::memcpy(&b, value, sizeof b);
  update<T, F>(at, b, exclusive);
}

template <class F>
Combine combine_bits(Type t) {
  return bytes_of(t) == 4 ? combine<uint32_t, F> : bytes_of(t) == 8 ? combine<uint64_t, F> : nullptr;
}

template <class F, HalfOperation O>
Combine combine_ordered(Type t) {
  switch (t) {
    case Type::u32: return combine<uint32_t, F>;
    case Type::s32: return combine<int32_t, F>;
    case Type::u64: return combine<uint64_t, F>;
    case Type::s64: return combine<int64_t, F>;
    case Type::f16: return combine<uint16_t, OnHalves<Half, O>>;
    case Type::bf16: return combine<uint16_t, OnHalves<Bfloat, O>>;
    default: return nullptr;
  }
}

Combine combine_sum(Type t) {
  switch (t) {
    case Type::f16: return combine<uint16_t, OnHalves<Half, HalfOperation::add>>;
    case Type::bf16: return combine<uint16_t, OnHalves<Bfloat, HalfOperation::add>>;
    case Type::f32: return combine<float, AddFlushed>;
    case Type::f64: return combine<double, Add>;
    default: return combine_bits<Add>(t);
  }
}

}  // namespace

Combine combine_of(Reduction operation, Type t) {
  switch (operation) {
    case Reduction::add: return combine_sum(t);
    case Reduction::min: return combine_ordered<Min, HalfOperation::min>(t);
    case Reduction::max: return combine_ordered<Max, HalfOperation::max>(t);
    case Reduction::inc: return t == Type::u32 ? combine<uint32_t, Inc> : nullptr;
    case Reduction::dec: return t == Type::u32 ? combine<uint32_t, Dec> : nullptr;
    case Reduction::bit_and: return combine_bits<And>(t);
    case Reduction::bit_or: return combine_bits<Or>(t);
    case Reduction::bit_xor: return combine_bits<Xor>(t);
    default: return nullptr;
  }
}

}  // namespace vgpu
