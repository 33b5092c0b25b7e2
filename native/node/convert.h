#pragma once
// Converts JavaScript values to C++ values. The errors name the argument, what it must be and what it is.
// Reading the elements of a list can run JavaScript (getters), which can dispose or change anything. So a function reads
// the list before it looks into a handle, or keeps a copy of what it found there.
#include <string>
#include <vector>

#include "core/operation.h"
#include "node/handles.h"

namespace caracal::node {

void read(const Napi::Value& v, Argument argument, bool& out);
void read(const Napi::Value& v, Argument argument, int64_t& out);  // a safe integer
void read(const Napi::Value& v, Argument argument, double& out);
void read(const Napi::Value& v, Argument argument, std::string& out);
void read(const Napi::Value& v, Argument argument, const Choice& out);  // the name of an enumerator

inline void read(const Napi::Value& v, Argument, Napi::Value& out) { out = v; }

template <class T>
void read(const Napi::Value& v, Argument argument, std::optional<T>& out) {
  read(v, argument, out.emplace());
}

template <class T>
void read(const Napi::Value& v, Argument argument, std::vector<T>& out) {
  if (!v.IsArray()) bad_argument(argument, "an array", v);
  const auto array = v.As<Napi::Array>();
  out.clear();
  // The length is read again, since a getter may have changed it. No memory is reserved for it: `new Array(2 ** 32 - 1)`
  // is a short expression.
  for (uint32_t i = 0; i < array.Length(); i++) read(array.Get(i), argument, out.emplace_back());
}

// Fills an operation's arguments, which come in the order of the contract. Those that are undefined keep the contract's
// defaults.
// @throws INVALID_ARGUMENT, also for a required argument that is missing; DISPOSED
void read_arguments(const Napi::CallbackInfo& info, Operation& op);

DType read_dtype(const Napi::Value& v);
Shape read_shape(const Napi::Value& v);
// The number of a file that Node.js has open, for use within the call (engine/descriptor.h). @throws INVALID_ARGUMENT
int read_descriptor(const Napi::Value& v);
// The options of a function. @throws INVALID_ARGUMENT
Napi::Object read_options(const Napi::Value& v);

}  // namespace caracal::node
