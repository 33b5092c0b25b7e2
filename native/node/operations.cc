// Exports one function per operation, and the contracts as data.
#include "engine/operations.h"

#include "engine/submit.h"
#include "node/functions.h"

namespace caracal::node {
namespace {

Napi::Value call(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const auto make = reinterpret_cast<std::shared_ptr<Operation> (*)()>(info.Data());
    std::shared_ptr<Operation> op = make();
    read_arguments(info, *op);
    const std::vector<Tensor> out = submit(std::move(op));
    if (out.size() == 1) return handle_of(info.Env(), out[0]);
    Napi::Array handles = Napi::Array::New(info.Env(), out.size());
    for (uint32_t i = 0; i < out.size(); i++) define(handles, i, handle_of(info.Env(), out[i]));
    return handles;
  });
}

Napi::Array strings(Napi::Env env, std::span<const char* const> names) {
  Napi::Array array = Napi::Array::New(env, names.size());
  for (uint32_t i = 0; i < names.size(); i++) define(array, i, names[i]);
  return array;
}

// Writes the kind of an argument, which scripts/lib/contracts.mjs reads.
struct KindOf {
  Napi::Object& field;
  void operator()(Tensor*) const { define(field, "kind", "tensor"); }
  void operator()(std::optional<Tensor>*) const { define(field, "kind", "tensor"); }
  void operator()(std::vector<Tensor>*) const { define(field, "kind", "tensor[]"); }
  void operator()(bool*) const { define(field, "kind", "boolean"); }
  void operator()(int64_t*) const { define(field, "kind", "integer"); }
  void operator()(double*) const { define(field, "kind", "number"); }
  void operator()(std::optional<int64_t>*) const { define(field, "kind", "integer"); }
  void operator()(std::optional<double>*) const { define(field, "kind", "number"); }
  void operator()(std::vector<int64_t>*) const { define(field, "kind", "integer[]"); }
  void operator()(std::vector<double>*) const { define(field, "kind", "number[]"); }
  void operator()(const Choice& choice) const {
    define(field, "kind", "choice");
    define(field, "choices", strings(field.Env(), choice.names));
  }
};

Napi::Array describe_fields(Napi::Env env, Operation& op) {
  Napi::Array fields = Napi::Array::New(env);
  for (const Operation::FieldInfo& info : op.fields()) {
    Napi::Object field = Napi::Object::New(env);
    define(field, "name", info.name);
    define(field, "inout", info.access == Access::inout);
    define(field, "layout", EnumNames<Layout>::names[static_cast<int>(info.layout)]);
    define(field, "required", info.required || std::holds_alternative<Tensor*>(info.locate(op)));
    std::visit(KindOf{field}, info.locate(op));
    define(fields, fields.Length(), field);
  }
  return fields;
}

// { dtypes, codeDtypes, layouts, activations, errorCodes, operations: [{ name, fields }] } with, for each field, its name,
// kind, choices of an enum, whether it is required or written in place (inout), and the packed layout that it may
// have
Napi::Object contracts_in(Napi::Env env) {
  Napi::Array operations = Napi::Array::New(env);
  for (const OperationType& type : operation_types()) {
    Napi::Object operation = Napi::Object::New(env);
    define(operation, "name", type.name);
    define(operation, "fields", describe_fields(env, *type.make()));
    define(operations, operations.Length(), operation);
  }
  Napi::Object o = Napi::Object::New(env);
  define(o, "dtypes", strings(env, EnumNames<DType>::names));
  define(o, "codeDtypes", strings(env, std::span(kDTypeNames).subspan<kTensorDTypes>()));
  define(o, "layouts", strings(env, EnumNames<Layout>::names));
  define(o, "activations", strings(env, kActivationNames));
  define(o, "errorCodes", strings(env, code::kAll));
  define(o, "operations", operations);
  return o;
}

// contracts()
Napi::Value contracts(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value { return contracts_in(info.Env()); });
}

}  // namespace

void export_operations(Napi::Env env, Napi::Object exports) {
  for (const OperationType& type : operation_types())
    define(exports, type.name, Napi::Function::New(env, call, type.name, reinterpret_cast<void*>(type.make)));
  define(exports, "contracts", Napi::Function::New(env, contracts, "contracts"));
}

}  // namespace caracal::node
