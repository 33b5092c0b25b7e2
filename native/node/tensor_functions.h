#pragma once
#include <napi.h>

namespace caracal::node {
void export_tensor_functions(Napi::Env env, Napi::Object exports);
void export_device_functions(Napi::Env env, Napi::Object exports);
void export_graph_functions(Napi::Env env, Napi::Object exports);
}  // namespace caracal::node
