#pragma once
// Converts JavaScript values to C++ values. The errors name the argument, what it must be and what it is.
#include <string>
#include <vector>

#include "core/operation.h"
#include "node/handles.h"

namespace caracal::node {

void read(const Napi::Value& v, Argument argument, Tensor& out);
void read(const Napi::Value& v, Argument argument, bool& out);
void read(const Napi::Value& v, Argument argument, int64_t& out);  // a safe integer
void read(const Napi::Value& v, Argument argument, double& out);
void read(const Napi::Value& v, Argument argument, std::string& out);
void read(const Napi::Value& v, Argument argument, const Choice& out);  // the name of an enumerator

template <class T>
void read(const Napi::Value& v, Argument argument, std::optional<T>& out) {
  read(v, argument, out.emplace());
}

template <class T>
void read(const Napi::Value& v, Argument argument, std::vector<T>& out) {
  if (!v.IsArray()) bad_argument(argument, "an array", v);
  const auto array = v.As<Napi::Array>();
  out.resize(array.Length());
  for (uint32_t i = 0; i < array.Length(); i++) read(array.Get(i), argument, out[i]);
}

// Fills an operation's arguments from the properties of an object. Missing properties keep the contract's defaults;
// tensors that are not optional are required.
void read_fields(const Napi::Value& v, Operation& op);

DType read_dtype(const Napi::Value& v);
Shape read_shape(const Napi::Value& v);

}  // namespace caracal::node
