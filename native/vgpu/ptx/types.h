#pragma once
// The fundamental types of PTX (PTX ISA, "Types") and the packed and alternate formats that only instructions use.
#include <cstdint>
#include <optional>
#include <string_view>

namespace vgpu {

enum class Type : uint8_t {
  pred,
  b8,
  b16,
  b32,
  b64,
  b128,
  u8,
  u16,
  u32,
  u64,
  s8,
  s16,
  s32,
  s64,
  f16,
  f16x2,
  bf16,
  bf16x2,
  tf32,
  f32,
  f64,
  u16x2,
  s16x2,
  e4m3,
  e5m2,
  e4m3x2,
  e5m2x2,
};

std::optional<Type> type_named(std::string_view name);
std::string_view name_of(Type type);
// The size of a value of the type in memory and in registers. A predicate has none.
unsigned bytes_of(Type type);

inline bool is_signed(Type t) { return t >= Type::s8 && t <= Type::s64; }
inline bool is_integer(Type t) { return t >= Type::u8 && t <= Type::s64; }

enum class Space : uint8_t { generic, global, shared, local, param, constant };

}  // namespace vgpu
