#pragma once
// JavaScript values to C++ ones, each with an error that names the argument.
#include <string>
#include <vector>

#include "core/operation.h"
#include "node/handles.h"

namespace caracal::node {

void read(const Napi::Value& v, const char* name, Tensor& out);
void read(const Napi::Value& v, const char* name, bool& out);
void read(const Napi::Value& v, const char* name, int64_t& out);  // a safe integer
void read(const Napi::Value& v, const char* name, double& out);
void read(const Napi::Value& v, const char* name, std::string& out);
void read(const Napi::Value& v, const char* name, const Choice& out);  // one of its names

template <class T>
void read(const Napi::Value& v, const char* name, std::optional<T>& out) {
  read(v, name, out.emplace());
}

template <class T>
void read(const Napi::Value& v, const char* name, std::vector<T>& out) {
  if (!v.IsArray()) bad_argument(name, "an array");
  const auto array = v.As<Napi::Array>();
  out.resize(array.Length());
  for (uint32_t i = 0; i < array.Length(); i++) read(array.Get(i), name, out[i]);
}

// Fills an operation's arguments from an object. A property that is missing keeps the contract's default; tensors
// without one are required.
void read_fields(const Napi::Value& v, Operation& op);

DType read_dtype(const Napi::Value& v);
Shape read_shape(const Napi::Value& v);

}  // namespace caracal::node
