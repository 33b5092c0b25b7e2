#include "node/convert.h"

#include <cmath>
#include <limits>

#include "core/check.h"

namespace caracal::node {
namespace {

// A value as messages show it.
std::string text_of(const Napi::Value& v) {
  switch (v.Type()) {
    case napi_undefined: return "undefined";
    case napi_null: return "null";
    case napi_boolean: return v.As<Napi::Boolean>() ? "true" : "false";
    case napi_number: return number_text(v.As<Napi::Number>().DoubleValue());
    case napi_string: {
      const std::string text = v.As<Napi::String>();
      return text.size() <= 40 ? '"' + text + '"' : "a string";
    }
    case napi_symbol: return "a symbol";
    case napi_function: return "a function";
    case napi_external: return "another kind of native object";
    case napi_bigint: return "a bigint";
    case napi_object: break;
  }
  return v.IsArray() ? "an array" : "an object";
}

}  // namespace

void bad_argument(Argument argument, const std::string& expected, const Napi::Value& actual) {
  const std::string found = text_of(actual);
  ErrorDetails details{{"argument", argument.name}, {"expected", expected}, {"actual", found}};
  if (argument.operation) details.emplace_back("operation", argument.operation);
  throw Error(code::kInvalidArgument,
              (argument.operation ? std::string(argument.operation) + ": " : "argument ") + argument.name +
                  " must be " + expected + ", got " + found,
              std::move(details));
}

void read(const Napi::Value& v, Argument argument, bool& out) {
  if (!v.IsBoolean()) bad_argument(argument, "a boolean", v);
  out = v.As<Napi::Boolean>();
}

void read(const Napi::Value& v, Argument argument, int64_t& out) {
  const double d = v.IsNumber() ? v.As<Napi::Number>().DoubleValue() : NAN;
  if (!(std::abs(d) <= 9007199254740991.0) || d != std::floor(d)) bad_argument(argument, "an integer", v);
  out = static_cast<int64_t>(d);
}

void read(const Napi::Value& v, Argument argument, double& out) {
  if (!v.IsNumber()) bad_argument(argument, "a number", v);
  out = v.As<Napi::Number>().DoubleValue();
}

void read(const Napi::Value& v, Argument argument, std::string& out) {
  if (!v.IsString()) bad_argument(argument, "a string", v);
  out = v.As<Napi::String>();
}

void read(const Napi::Value& v, Argument argument, const Choice& out) {
  char text[32];  // no name is as long, and a longer text is cut off
  size_t length = 0;
  if (napi_get_value_string_utf8(v.Env(), v, text, sizeof text, &length) == napi_ok)
    for (size_t i = 0; i < out.names.size(); i++)
      if (std::string_view(text, length) == out.names[i]) return out.choose(out.member, i);
  std::string all;
  for (const char* name : out.names) all += (all.empty() ? "" : ", ") + std::string(name);
  bad_argument(argument, "one of " + all, v);
}

namespace {

struct ReadArgument {
  const Napi::Value& value;
  Argument argument;

  void operator()(Tensor* out) const { *out = open_tensor(value, argument); }
  void operator()(std::optional<Tensor>* out) const { *out = open_tensor(value, argument); }
  void operator()(std::vector<Tensor>* out) const {
    std::vector<Napi::Value> handles;
    read(value, argument, handles);
    for (const Napi::Value& handle : handles) out->push_back(open_tensor(handle, argument));
  }
  void operator()(const Choice& choice) const { read(value, argument, choice); }
  template <class T>
  void operator()(T* out) const {
    read(value, argument, *out);
  }
};

}  // namespace

void read_arguments(const Napi::CallbackInfo& info, Operation& op) {
  size_t i = 0;
  for (const Operation::FieldInfo& field : op.fields()) {
    const Napi::Value value = info[i++];
    const FieldPointer member = field.locate(op);
    const napi_valuetype type = i > info.Length() ? napi_undefined : value.Type();
    const bool given = type != napi_undefined && type != napi_null;
    if (given || field.required || std::holds_alternative<Tensor*>(member))
      std::visit(ReadArgument{value, {field.name, op.name()}}, member);
  }
}

DType read_dtype(const Napi::Value& v) {
  DType dtype{};
  read(v, "dtype",
       Choice{EnumNames<DType>::names,
              [](void* to, size_t index) { *static_cast<DType*>(to) = static_cast<DType>(index); }, &dtype});
  return dtype;
}

int read_descriptor(const Napi::Value& v) {
  int64_t fd = 0;
  read(v, "fd", fd);
  if (fd < 0 || fd > std::numeric_limits<int>::max()) bad_argument("fd", "a file descriptor", v);
  return static_cast<int>(fd);
}

Napi::Object read_options(const Napi::Value& v) {
  if (!v.IsObject()) bad_argument("options", "an object", v);
  return v.As<Napi::Object>();
}

Shape read_shape(const Napi::Value& v) {
  std::vector<int64_t> dims;
  read(v, "shape", dims);
  Shape shape;
  for (int64_t d : dims) {
    if (d < 0)
      throw Error(code::kShapeMismatch, "shape has a negative dimension, " + std::to_string(d),
                  {{"argument", "shape"}});
    shape.push_back(d);
  }
  if (!shape.countable())
    throw Error(code::kShapeMismatch, "shape " + shape.str() + " has too many elements", {{"argument", "shape"}});
  return shape;
}

}  // namespace caracal::node
