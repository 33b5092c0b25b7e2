// Exports one function per operation, and the contracts as data.
#include "engine/operations.h"

#include "engine/submit.h"
#include "node/functions.h"

namespace caracal::node {
namespace {

Napi::Value call(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const auto make = reinterpret_cast<std::unique_ptr<Operation> (*)()>(info.Data());
    std::unique_ptr<Operation> op = make();
    read_fields(info[0], *op);
    const std::vector<Tensor> out = submit(std::move(op));
    Napi::Array handles = Napi::Array::New(info.Env(), out.size());
    for (uint32_t i = 0; i < out.size(); i++) handles[i] = describe(info.Env(), out[i]);
    return handles;
  });
}

Napi::Array strings(Napi::Env env, std::span<const char* const> names) {
  Napi::Array array = Napi::Array::New(env, names.size());
  for (uint32_t i = 0; i < names.size(); i++) array[i] = names[i];
  return array;
}

// Writes the kind of an argument, which scripts/lib/contracts.mjs reads.
struct KindOf {
  Napi::Object& field;
  void operator()(Tensor*) const { field.Set("kind", "tensor"); }
  void operator()(std::optional<Tensor>*) const { field.Set("kind", "tensor"); }
  void operator()(std::vector<Tensor>*) const { field.Set("kind", "tensor[]"); }
  void operator()(bool*) const { field.Set("kind", "boolean"); }
  void operator()(int64_t*) const { field.Set("kind", "integer"); }
  void operator()(double*) const { field.Set("kind", "number"); }
  void operator()(std::optional<int64_t>*) const { field.Set("kind", "integer"); }
  void operator()(std::optional<double>*) const { field.Set("kind", "number"); }
  void operator()(std::vector<int64_t>*) const { field.Set("kind", "integer[]"); }
  void operator()(std::vector<double>*) const { field.Set("kind", "number[]"); }
  void operator()(const Choice& choice) const {
    field.Set("kind", "choice");
    field.Set("choices", strings(field.Env(), choice.names));
  }
};

Napi::Array describe_fields(Napi::Env env, Operation& op) {
  Napi::Array fields = Napi::Array::New(env);
  for (const Operation::FieldInfo& info : op.fields()) {
    Napi::Object field = Napi::Object::New(env);
    field.Set("name", info.name);
    field.Set("inout", info.access == Access::inout);
    field.Set("layout", EnumNames<Layout>::names[static_cast<int>(info.layout)]);
    field.Set("required", info.required || std::holds_alternative<Tensor*>(info.locate(op)));
    std::visit(KindOf{field}, info.locate(op));
    fields[fields.Length()] = field;
  }
  return fields;
}

// contracts(): { dtypes, activations, errorCodes, operations: [{ name, fields }] } with, for each field, its name, kind,
// choices of an enum, whether it is required or written in place (inout), and the packed layout that it may have
Napi::Value contracts(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array operations = Napi::Array::New(env);
  for (const OperationType& type : operation_types()) {
    Napi::Object operation = Napi::Object::New(env);
    operation.Set("name", type.name);
    operation.Set("fields", describe_fields(env, *type.make()));
    operations[operations.Length()] = operation;
  }
  Napi::Object o = Napi::Object::New(env);
  o.Set("dtypes", strings(env, EnumNames<DType>::names));
  o.Set("activations", strings(env, kActivationNames));
  o.Set("errorCodes", strings(env, code::kAll));
  o.Set("operations", operations);
  return o;
}

}  // namespace

void export_operations(Napi::Env env, Napi::Object exports) {
  for (const OperationType& type : operation_types())
    exports.Set(type.name, Napi::Function::New(env, call, type.name, reinterpret_cast<void*>(type.make)));
  exports.Set("contracts", Napi::Function::New(env, contracts, "contracts"));
}

}  // namespace caracal::node
