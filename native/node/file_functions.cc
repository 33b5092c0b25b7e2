// Locks files, which Node.js cannot.
#include "engine/file_lock.h"
#include "node/functions.h"

namespace caracal::node {
namespace {

// lockFile(fd): "taken", "held" by somebody else, or "unsupported" by the file system
Napi::Value lock_file(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const FileLock lock = take_file_lock(read_descriptor(info[0]));
    const char* name = lock == FileLock::kTaken ? "taken" : lock == FileLock::kHeldByOther ? "held" : "unsupported";
    return Napi::String::New(info.Env(), name);
  });
}

}  // namespace

void export_file_functions(Napi::Env env, Napi::Object exports) {
  const Function functions[] = {{"lockFile", lock_file}};
  export_functions(env, exports, functions);
}

}  // namespace caracal::node
