#include <set>

#include "cuda/kernels.h"
#include "node/bind.h"
#include "node/tensor_functions.h"

namespace caracal::node {

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment(env));
  export_tensor_functions(env, exports);
  export_device_functions(env, exports);
  export_graph_functions(env, exports);
#define CARACAL_BIND(Op) bind<Op>(env, exports);
  CARACAL_OPS(CARACAL_BIND)
#undef CARACAL_BIND
  std::set<std::string_view> families;
  for (const KernelImage& image : kernel_images()) families.insert(image.family);
  Napi::Array names = Napi::Array::New(env);
  for (std::string_view family : families) names[names.Length()] = std::string(family);
  exports.Set("kernelFamilies", names);
  exports.Set("bestIsa", kIsaNames[static_cast<int>(best_isa())]);
  exports.Set("buildTool", CARACAL_BUILD_TOOL);
  return exports;
}

NODE_API_MODULE(caracal, init)

}  // namespace caracal::node
