#include "cpu/isa.h"
#include "cuda/kernels.h"
#include "node/functions.h"

namespace caracal::node {

static Napi::Object fill(Napi::Env env, Napi::Object exports) {
  auto* environment = new Environment(env);
  env.SetInstanceData(environment);
  define(exports, "description", environment->description_array());
  export_tensor_functions(env, exports);
  export_device_functions(env, exports);
  export_graph_functions(env, exports);
  export_packed_functions(env, exports);
  export_text_functions(env, exports);
  export_file_functions(env, exports);
  export_operations(env, exports);
  define(exports, "cudaKernels", static_cast<double>(kernel_entries().size()));
  define(exports, "bestIsa", isa_name(best_isa()));
  define(exports, "buildTool", CARACAL_BUILD_TOOL);
  return exports;
}

// Called by Node.js, which expects no exception of C++.
static Napi::Object init(Napi::Env env, Napi::Object exports) {
  try {
    return fill(env, exports);
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    napi_throw(env, to_js(env, *current_fault("loading the addon")));
    return exports;
  }
}

NODE_API_MODULE(caracal, init)

}  // namespace caracal::node
