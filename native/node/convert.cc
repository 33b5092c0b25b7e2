#include "node/convert.h"

#include <cmath>

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
  const std::string s = v.IsString() ? v.As<Napi::String>().Utf8Value() : "";
  std::string all;
  for (size_t i = 0; i < out.names.size(); i++) {
    if (s == out.names[i]) return out.choose(out.member, i);
    all += (i ? ", " : "") + std::string(out.names[i]);
  }
  bad_argument(argument, "one of " + all, v);
}

namespace {

// The tensors of an argument whose handles have not been looked into yet.
struct TensorArgument {
  Argument argument;
  FieldPointer member;
  std::vector<Napi::Value> handles;
};

// Reads an argument that is not a tensor, or the handles of one.
struct ReadArgument {
  const Napi::Value& value;
  TensorArgument& tensors;

  void operator()(Tensor*) const { tensors.handles = {value}; }
  void operator()(std::optional<Tensor>*) const { tensors.handles = {value}; }
  void operator()(std::vector<Tensor>*) const { read(value, tensors.argument, tensors.handles); }
  void operator()(const Choice& choice) const { read(value, tensors.argument, choice); }
  template <class T>
  void operator()(T* out) const {
    read(value, tensors.argument, *out);
  }
};

void open_tensors(const TensorArgument& from) {
  auto open = [&](size_t i) { return open_tensor(from.handles[i], from.argument); };
  if (auto* tensor = std::get_if<Tensor*>(&from.member)) **tensor = open(0);
  if (auto* optional = std::get_if<std::optional<Tensor>*>(&from.member)) **optional = open(0);
  if (auto* list = std::get_if<std::vector<Tensor>*>(&from.member))
    for (size_t i = 0; i < from.handles.size(); i++) (*list)->push_back(open(i));
}

}  // namespace

void read_fields(const Napi::Value& v, Operation& op) {
  if (!v.IsObject()) bad_argument({"arguments", op.name()}, "an object", v);
  const auto object = v.As<Napi::Object>();
  std::vector<TensorArgument> tensors;
  for (const Operation::FieldInfo& field : op.fields()) {
    const Napi::Value value = object.Get(field.name);
    const FieldPointer member = field.locate(op);
    const bool required = field.required || std::holds_alternative<Tensor*>(member);
    if (!required && (value.IsUndefined() || value.IsNull())) continue;
    std::visit(ReadArgument{value, tensors.emplace_back(Argument{field.name, op.name()}, member)}, member);
  }
  for (const TensorArgument& argument : tensors)
    if (!argument.handles.empty()) open_tensors(argument);
}

DType read_dtype(const Napi::Value& v) {
  DType dtype{};
  read(v, "dtype",
       Choice{EnumNames<DType>::names,
              [](void* to, size_t index) { *static_cast<DType*>(to) = static_cast<DType>(index); }, &dtype});
  return dtype;
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
