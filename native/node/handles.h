#pragma once
// Native objects that JavaScript holds. Every kind has a type tag, so a value of another kind, or of another addon, is
// refused instead of being read as something it is not.
#include <napi.h>

#include <memory>
#include <string>

#include "core/device.h"
#include "engine/mapped_file.h"

namespace caracal::node {

[[noreturn]] inline void bad_argument(const char* name, const std::string& want) {
  throw Error(code::kInvalidArgument, std::string("argument ") + name + " must be " + want, {{"argument", name}});
}

// A Tensor; without storage once it was disposed, which frees the bytes but not this object.
struct TensorHandle {
  static constexpr const char* kWhat = "a Tensor";
  static constexpr napi_type_tag kTag{0x6361726163616c01, 0x9d4f1c7a52e84b01};
  Tensor tensor;
};

// A Device; null once it was disposed.
struct DeviceHandle {
  static constexpr const char* kWhat = "a Device";
  static constexpr napi_type_tag kTag{0x6361726163616c02, 0x9d4f1c7a52e84b02};
  std::shared_ptr<Device> device;
};

// A Graph; empty once it was disposed.
struct GraphHandle {
  static constexpr const char* kWhat = "a Graph";
  static constexpr napi_type_tag kTag{0x6361726163616c03, 0x9d4f1c7a52e84b03};
  std::shared_ptr<Device> device;
  std::shared_ptr<Graph> graph;
};

struct FileHandle {
  static constexpr const char* kWhat = "a mapped file";
  static constexpr napi_type_tag kTag{0x6361726163616c04, 0x9d4f1c7a52e84b04};
  std::shared_ptr<MappedFile> file;
};

// Gives JavaScript a handle. `drop(env, handle)` runs when it is collected, before the handle is deleted.
template <class H, class Drop>
Napi::External<H> wrap(Napi::Env env, H handle, Drop drop) {
  auto external = Napi::External<H>::New(env, new H(std::move(handle)), [drop](Napi::Env e, H* h) {
    drop(e, *h);
    delete h;
  });
  external.TypeTag(&H::kTag);
  return external;
}

// The handle in an argument. @throws INVALID_ARGUMENT for a value of another kind
template <class H>
H& unwrap(const Napi::Value& v, const char* name) {
  if (!v.IsExternal() || !v.As<Napi::External<H>>().CheckTypeTag(&H::kTag)) bad_argument(name, H::kWhat);
  return *v.As<Napi::External<H>>().Data();
}

inline const Tensor& open_tensor(const Napi::Value& v, const char* name) {
  const TensorHandle& h = unwrap<TensorHandle>(v, name);
  if (!h.tensor.storage)
    throw Error(code::kDisposed,
                std::string("tensor ") + name +
                    " was disposed: keep it out of the scope or the `using` that ended, or dispose it later",
                {{"argument", name}});
  return h.tensor;
}

inline const std::shared_ptr<Device>& open_device(const Napi::Value& v) {
  const DeviceHandle& h = unwrap<DeviceHandle>(v, "device");
  if (!h.device) throw Error(code::kDisposed, "the device was disposed: open another with Device.open()");
  return h.device;
}

}  // namespace caracal::node
