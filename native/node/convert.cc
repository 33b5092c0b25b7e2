#include "node/convert.h"

#include <cmath>

namespace caracal::node {

void read(const Napi::Value& v, const char* name, Tensor& out) { out = open_tensor(v, name); }

void read(const Napi::Value& v, const char* name, bool& out) {
  if (!v.IsBoolean()) bad_argument(name, "a boolean");
  out = v.As<Napi::Boolean>();
}

void read(const Napi::Value& v, const char* name, int64_t& out) {
  const double d = v.IsNumber() ? v.As<Napi::Number>().DoubleValue() : NAN;
  if (!(std::abs(d) <= 9007199254740991.0) || d != std::floor(d)) bad_argument(name, "an integer");
  out = static_cast<int64_t>(d);
}

void read(const Napi::Value& v, const char* name, double& out) {
  if (!v.IsNumber()) bad_argument(name, "a number");
  out = v.As<Napi::Number>().DoubleValue();
}

void read(const Napi::Value& v, const char* name, std::string& out) {
  if (!v.IsString()) bad_argument(name, "a string");
  out = v.As<Napi::String>();
}

void read(const Napi::Value& v, const char* name, const Choice& out) {
  const std::string s = v.IsString() ? v.As<Napi::String>().Utf8Value() : "";
  std::string all;
  for (size_t i = 0; i < out.names.size(); i++) {
    if (s == out.names[i]) return out.choose(out.member, i);
    all += (i ? ", " : "") + std::string(out.names[i]);
  }
  bad_argument(name, "one of " + all);
}

void read_fields(const Napi::Value& v, Operation& op) {
  if (!v.IsObject()) bad_argument(op.name(), "called with an object of arguments");
  const auto object = v.As<Napi::Object>();
  for (const Operation::FieldInfo& field : op.fields()) {
    const Napi::Value value = object.Get(field.name);
    const FieldPointer member = field.locate(op);
    if (!value.IsUndefined() && !value.IsNull())
      std::visit(
          [&](const auto& m) {
            if constexpr (std::is_pointer_v<std::decay_t<decltype(m)>>)
              read(value, field.name, *m);
            else
              read(value, field.name, m);
          },
          member);
    else if (std::holds_alternative<Tensor*>(member))
      bad_argument(field.name, "a Tensor");
  }
}

DType read_dtype(const Napi::Value& v) {
  DType dtype{};
  read(v, "dtype",
       Choice{kDTypeNames, [](void* to, size_t index) { *static_cast<DType*>(to) = static_cast<DType>(index); },
              &dtype});
  return dtype;
}

Shape read_shape(const Napi::Value& v) {
  std::vector<int64_t> dims;
  read(v, "shape", dims);
  Shape shape;
  for (int64_t d : dims) {
    if (d < 0) throw Error(code::kShapeMismatch, "shape has a negative dimension " + std::to_string(d));
    shape.push_back(d);
  }
  if (!shape.countable()) throw Error(code::kShapeMismatch, "shape " + shape.str() + " has too many elements");
  return shape;
}

}  // namespace caracal::node
