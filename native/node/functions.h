#pragma once
// The functions that the addon exports, by file, and helpers that they share.
#include <span>

#include "node/convert.h"
#include "node/define.h"
#include "node/environment.h"

namespace caracal::node {

void export_tensor_functions(Napi::Env env, Napi::Object exports);
void export_device_functions(Napi::Env env, Napi::Object exports);
void export_graph_functions(Napi::Env env, Napi::Object exports);
void export_packed_functions(Napi::Env env, Napi::Object exports);
void export_text_functions(Napi::Env env, Napi::Object exports);
void export_file_functions(Napi::Env env, Napi::Object exports);
void export_operations(Napi::Env env, Napi::Object exports);

// Hands a tensor to JavaScript.
Napi::Value handle_of(Napi::Env env, Tensor tensor);

// Runs the body of an exported function. Its Error becomes a JavaScript error with the same code and details.
template <class Fn>
Napi::Value guarded(const Napi::CallbackInfo& info, Fn&& fn) {
  try {
    return fn();
  } catch (const Napi::Error&) {  // of JavaScript that the call ran, such as a getter
    throw;
  } catch (...) {
    napi_throw(info.Env(), to_js(info.Env(), *fault_of_call()));
    return {};
  }
}

struct Function {
  const char* name;
  Napi::Value (*call)(const Napi::CallbackInfo&);
};
inline void export_functions(Napi::Env env, Napi::Object exports, std::span<const Function> functions) {
  for (const auto& [name, call] : functions) define(exports, name, Napi::Function::New(env, call, name));
}

}  // namespace caracal::node
