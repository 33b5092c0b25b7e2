#include "engine/convert.h"

#include <cstring>

namespace caracal {
namespace {

template <class From>
void convert_elements(const From* from, size_t n, DType to, std::byte* out) {
  auto all = [&](auto* p, auto convert) {
    for (size_t i = 0; i < n; i++) p[i] = convert(from[i]);
  };
  switch (to) {
    case DType::f32: return all(reinterpret_cast<float*>(out), [](From v) { return static_cast<float>(v); });
    case DType::bf16: return all(reinterpret_cast<bf16*>(out), [](From v) { return to_bf16(static_cast<float>(v)); });
    case DType::f16: return all(reinterpret_cast<f16*>(out), [](From v) { return to_f16(static_cast<float>(v)); });
    case DType::f8e4m3:
      return all(reinterpret_cast<f8e4m3*>(out), [](From v) { return to_f8e4m3(static_cast<float>(v)); });
    default: break;
  }
  const std::string expected = "f32, bf16, f16 or f8e4m3";
  throw Error(code::kDtypeMismatch,
              "floating-point values can fill a tensor of " + expected + ", got " + dtype_name(to),
              {{"argument", "values"}, {"expected", expected}, {"actual", dtype_name(to)}});
}

void copy_raw(const std::byte* from, size_t n, DType dtype, std::byte* out) {
  if (n > 0) std::memcpy(out, from, n * dtype_bytes(dtype));
}

// Copies an array that can hold the raw elements of one dtype or of two.
void copy_raw_of(const char* array, DType a, DType b, const std::byte* from, size_t n, DType dtype, std::byte* out) {
  if (dtype == a || dtype == b) return copy_raw(from, n, dtype, out);
  const std::string expected = std::string(dtype_name(a)) + (a == b ? "" : std::string(" or ") + dtype_name(b));
  throw Error(code::kDtypeMismatch,
              std::string(array) + " can fill a tensor of " + expected + ", got " + dtype_name(dtype),
              {{"argument", "values"}, {"expected", expected}, {"actual", dtype_name(dtype)}});
}

template <class T>
void widen(const std::byte* from, size_t n, float* out) {
  const auto* p = reinterpret_cast<const T*>(from);
  for (size_t i = 0; i < n; i++)
    if constexpr (std::is_integral_v<T>)
      out[i] = static_cast<float>(p[i]);
    else
      out[i] = to_float(p[i]);
}

}  // namespace

void from_host(HostType type, const std::byte* from, size_t n, DType dtype, std::byte* out) {
  switch (type) {
    case HostType::f32:
      if (dtype == DType::f32) return copy_raw(from, n, dtype, out);
      return convert_elements(reinterpret_cast<const float*>(from), n, dtype, out);
    case HostType::f64: return convert_elements(reinterpret_cast<const double*>(from), n, dtype, out);
    case HostType::i32: return copy_raw_of("an Int32Array", DType::i32, DType::i32, from, n, dtype, out);
    case HostType::u16: return copy_raw_of("a Uint16Array", DType::bf16, DType::f16, from, n, dtype, out);
    case HostType::u8: return copy_raw_of("a Uint8Array", DType::u8, DType::f8e4m3, from, n, dtype, out);
  }
}

void to_float32(DType dtype, const std::byte* from, size_t n, float* out) {
  switch (dtype) {
    case DType::f32: return widen<float>(from, n, out);
    case DType::bf16: return widen<bf16>(from, n, out);
    case DType::f16: return widen<f16>(from, n, out);
    case DType::f8e4m3: return widen<f8e4m3>(from, n, out);
    case DType::i32: return widen<int32_t>(from, n, out);
    case DType::u8: return widen<uint8_t>(from, n, out);
    case DType::q4:
    case DType::q8: break;  // no plain tensor
  }
}

}  // namespace caracal
