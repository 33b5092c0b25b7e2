// Locks files, which Node.js cannot.
#include <limits>

#include "engine/file_lock.h"
#include "node/functions.h"

namespace caracal::node {
namespace {

// lockFile(fd): "taken", "held" by somebody else, or "unsupported" by the file system
Napi::Value lock_file(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    int64_t fd = 0;
    read(info[0], "fd", fd);
    if (fd < 0 || fd > std::numeric_limits<int>::max()) bad_argument("fd", "a file descriptor", info[0]);
    const FileLock lock = take_file_lock(static_cast<int>(fd));
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
