#pragma once
#include <napi.h>

#include <string>

namespace caracal::node {

// Give an object or a list that the addon makes a property or an element. To set one instead would run a setter of the
// same name that a program has put on a prototype, such as Object.prototype: it could throw, or keep the value away.

inline void define(const Napi::Object& object, napi_value name, napi_value value) {
  const napi_property_descriptor property{nullptr, name, nullptr, nullptr, nullptr, value, napi_default_jsproperty,
                                          nullptr};
  if (napi_define_properties(object.Env(), object, 1, &property) != napi_ok) throw Napi::Error::New(object.Env());
}

template <class T>
void define(const Napi::Object& object, const char* name, const T& value) {
  define(object, Napi::String::New(object.Env(), name), Napi::Value::From(object.Env(), value));
}

template <class T>
void define(const Napi::Array& list, uint32_t index, const T& value) {
  define(list, Napi::String::New(list.Env(), std::to_string(index)), Napi::Value::From(list.Env(), value));
}

}  // namespace caracal::node
