// Packed weights in files (engine/packed_file.h). What the files hold and which of them to trust is decided in
// lib/model/packed.
#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "cpu/gemm_panels.h"
#include "engine/packed_file.h"
#include "node/functions.h"

namespace caracal::node {
namespace {

Layout read_layout(const Napi::Value& v) {
  Layout layout{};
  read(v, "layout",
       Choice{EnumNames<Layout>::names,
              [](void* to, size_t index) { *static_cast<Layout*>(to) = static_cast<Layout>(index); }, &layout});
  return layout;
}

// Of a packed weight or its scales: tensors have fewer dtypes.
DType read_packed_dtype(const Napi::Value& v, const char* argument) {
  DType dtype{};
  read(v, argument,
       Choice{kDTypeNames, [](void* to, size_t index) { *static_cast<DType*>(to) = static_cast<DType>(index); },
              &dtype});
  return dtype;
}

// mapPacked(device, file, offset, layout, dtype, shape, groups, scaleGroup, scaleDtype)
Napi::Value map_packed(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    int64_t offset = 0;
    read(info[2], "offset", offset);
    PackedSpec spec;
    spec.layout = read_layout(info[3]);
    spec.dtype = read_packed_dtype(info[4], "dtype");
    spec.shape = read_shape(info[5]);
    read(info[6], "groups", spec.groups);
    read(info[7], "scaleGroup", spec.scales.group);
    spec.scales.dtype = read_packed_dtype(info[8], "scaleDtype");
    const std::shared_ptr<Device> device = open_device(info[0]);
    const FileHandle& file = unwrap<FileHandle>(info[1], "file");
    return handle_of(info.Env(), caracal::map_packed(device, file.file, offset, spec));
  });
}

// packedInfo(tensor): what mapPacked has to be told, besides dtype, shape and layout
Napi::Value packed_info(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Tensor t = open_tensor(info[0], "tensor");
    const size_t bytes = packed_storage_bytes({t.dtype, t.layout, t.shape, t.groups, t.scales});
    if (bytes != t.storage->bytes)
      throw Error(code::kUnsupported, "a packed weight has " + std::to_string(t.storage->bytes) + " bytes instead of " +
                                          std::to_string(bytes) + ", so no file can hold it");
    Napi::Object o = Napi::Object::New(info.Env());
    define(o, "bytes", static_cast<double>(bytes));
    define(o, "groups", static_cast<double>(t.groups));
    define(o, "scaleGroup", static_cast<double>(t.scales.group));
    define(o, "scaleDtype", dtype_name(t.scales.dtype));
    return o;
  });
}

// writePacked(tensor, fd, offset): Promise<void>
Napi::Value write_packed(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    int64_t offset = 0;
    read(info[2], "offset", offset);
    const Tensor t = open_tensor(info[0], "tensor");
    auto file = std::make_shared<Descriptor>(fcntl(read_descriptor(info[1]), F_DUPFD_CLOEXEC, 0));
    if (*file < 0)
      throw Error(code::kIoError, std::string("packed weights cannot be written: ") + std::strerror(errno));
    return Environment::of(info.Env()).run_async(info.Env(), *t.storage->device, [t, file, offset] {
      const Descriptor own = std::move(*file);  // closed before the promise is settled: it holds the lock of the file
      caracal::write_packed(t, own, offset);
    });
  });
}

}  // namespace

void export_packed_functions(Napi::Env env, Napi::Object exports) {
  const Function functions[] = {
      {"mapPacked", map_packed},
      {"packedInfo", packed_info},
      {"writePacked", write_packed},
  };
  export_functions(env, exports, functions);
  define(exports, "packedLayoutVersion", static_cast<double>(kPackedLayoutVersion));
}

}  // namespace caracal::node
