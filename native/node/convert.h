#pragma once
// JavaScript values to C++ ones, each with an error that names the argument.
#include <napi.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/op.h"

namespace caracal::node {

// What a JavaScript Tensor holds: an external value with this inside. Disposing keeps the object but not the bytes.
struct TensorHandle {
  static constexpr uint64_t kMagic = 0x63617261'63616c54;
  uint64_t magic = kMagic;
  Tensor tensor;
};

[[noreturn]] inline void bad_argument(const char* name, const std::string& want) {
  throw Error(code::kInvalidArgument, std::string("argument ") + name + " must be " + want);
}

inline TensorHandle& handle_of(const Napi::Value& v, const char* name) {
  if (!v.IsExternal()) bad_argument(name, "a Tensor");
  auto* h = v.As<Napi::External<TensorHandle>>().Data();
  if (h == nullptr || h->magic != TensorHandle::kMagic) bad_argument(name, "a Tensor");
  if (!h->tensor.storage)
    throw Error(code::kDisposed, std::string("tensor ") + name +
                                     " was disposed: keep it out of the scope or the "
                                     "`using` that ended, or dispose it later");
  return *h;
}

template <class T>
void read(const Napi::Value& v, const char* name, T& out) {
  if constexpr (std::is_same_v<T, Tensor>) {
    out = handle_of(v, name).tensor;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!v.IsBoolean()) bad_argument(name, "a boolean");
    out = v.As<Napi::Boolean>();
  } else if constexpr (std::is_same_v<T, int64_t>) {
    const double d = v.IsNumber() ? v.As<Napi::Number>().DoubleValue() : NAN;
    if (!(std::abs(d) <= 9007199254740991.0) || d != std::floor(d)) bad_argument(name, "an integer");
    out = static_cast<int64_t>(d);
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!v.IsNumber()) bad_argument(name, "a number");
    out = static_cast<T>(v.As<Napi::Number>().DoubleValue());
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!v.IsString()) bad_argument(name, "a string");
    out = v.As<Napi::String>();
  } else if constexpr (std::is_enum_v<T>) {
    const std::string s = v.IsString() ? v.As<Napi::String>().Utf8Value() : "";
    std::string all;
    for (size_t i = 0; i < std::size(EnumNames<T>::names); i++) {
      if (s == EnumNames<T>::names[i]) {
        out = static_cast<T>(i);
        return;
      }
      all += (i ? ", " : "") + std::string(EnumNames<T>::names[i]);
    }
    bad_argument(name, "one of " + all);
  } else {  // std::vector
    if (!v.IsArray()) bad_argument(name, "an array");
    const auto array = v.As<Napi::Array>();
    out.resize(array.Length());
    for (uint32_t i = 0; i < array.Length(); i++) read(array.Get(i), name, out[i]);
  }
}

template <class T>
void read(const Napi::Value& v, const char* name, std::optional<T>& out) {
  read(v, name, out.emplace());
}

// A field that is missing keeps the contract's default; tensors without one are required.
template <class Op>
Op read_fields(const Napi::Value& v) {
  if (!v.IsObject()) bad_argument(Op::kName, "called with an object of arguments");
  const auto object = v.As<Napi::Object>();
  Op op;
  std::apply(
      [&](const auto&... f) {
        (
            [&] {
              const Napi::Value value = object.Get(f.name);
              using V = std::decay_t<decltype(op.*(f.member))>;
              if (!value.IsUndefined() && !value.IsNull()) {
                read(value, f.name, op.*(f.member));
              } else if constexpr (std::is_same_v<V, Tensor>) {
                bad_argument(f.name, "a Tensor");
              }
            }(),
            ...);
      },
      Op::kFields);
  return op;
}

inline Shape read_shape(const Napi::Value& v, const char* name) {
  std::vector<int64_t> dims;
  read(v, name, dims);
  Shape shape;
  for (int64_t d : dims) {
    if (d < 0) throw Error(code::kShapeMismatch, std::string(name) + " has a negative dimension " + std::to_string(d));
    shape.push_back(d);
  }
  if (!shape.countable())
    throw Error(code::kShapeMismatch, std::string(name) + " " + shape.str() + " has too many elements");
  return shape;
}

}  // namespace caracal::node
