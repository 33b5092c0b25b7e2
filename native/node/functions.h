#pragma once
// The functions that the addon exports, by file, and helpers that they share.
#include <span>

#include "node/convert.h"
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
  } catch (const Error& e) {
    throw to_js(info.Env(), e);
  } catch (const std::length_error& e) {
    throw to_js(info.Env(), Error(code::kInvalidArgument, std::string("an argument is too long: ") + e.what()));
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception&) {  // std::bad_alloc, or std::system_error of a mutex or a thread
    throw to_js(info.Env(), *current_fault("the call"));
  }
}

struct Function {
  const char* name;
  Napi::Value (*call)(const Napi::CallbackInfo&);
};
inline void export_functions(Napi::Env env, Napi::Object exports, std::span<const Function> functions) {
  for (const auto& [name, call] : functions) exports.Set(name, Napi::Function::New(env, call, name));
}

}  // namespace caracal::node
